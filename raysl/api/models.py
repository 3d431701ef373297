"""`raysl.load_model`: a trained model of a results folder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from raysl.api.launching import check_whole
from raysl.api.model_choice import SELECTED, find_member, find_stage
from raysl.api.turns import own_turn
from raysl.errors import ResultsError
from raysl.results.records.rows import TrialRow, read_row
from raysl.results.records.stages import Member
from raysl.results.storage.store import Store
from raysl.training.kept_models import model_files
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec

if TYPE_CHECKING:
    from raysl.training.trained_model import TrainedModel


def load_model(
    results: str | os.PathLike[str],
    stage: str | None = None,
    config: str | Mapping[str, object] = SELECTED,
    seed: int = 0,
    epoch: int | None = None,
) -> "TrainedModel":
    """Return a trained model of a results folder, in eval mode, on the CPU; its training images are not needed.

    Args:
        results: folder or URI.
        stage: its name, or its id if several current searches have a stage of that name; the only one if None.
        config: `selected`, an id, or searched values: `{"optimizer.lr": 0.1}` or `lr=0.1,epochs=5`. Models of configs
            that are not selected are usually dropped when a stage is done.
        seed: of the trial.
        epoch: the number of epochs after which a milestone was kept, 0 for the beginning; None is the end of the
            training.

    Returns:
        the model: `model(model.preprocess(images))` gives features, `model.classify(...)` logits if its method has
        learnt classes, `model.segment(...)` logits of each pixel if it has learnt masks.

    Raises:
        UserError: the stage, config, seed or milestone does not exist; the model is missing or damaged; it was kept by
            an earlier version, without the mean and deviation of the training images, and these are not here.

    Example:
        model = raysl.load_model("results/rotation_semi", stage="semi", seed=0)
        features = model(model.preprocess(Path("digit.png").read_bytes()))
    """
    check_whole("seed", seed, 0)
    if epoch is not None:
        check_whole("epoch", epoch, 0)
    store = Store.open(os.fsdecode(results), create=False)
    spec = _finished(store, find_member(store, find_stage(store, stage), config, seed))
    with own_turn():
        return _model(store, spec, None if epoch == spec.epochs else epoch)


def _finished(store: Store, member: Member) -> TrialSpec:
    """Return the spec of a finished trial; raises ResultsError if the trial is not finished."""
    row = read_row(store, member.trial_id)
    if row is None or row.status != "finished":
        only = " with all labels; beside its folds, a config is if it is selected" if member.folds else ""
        why = f"not trained yet{only}" if row is None else f"{row.status}: {row.reason}"
        raise ResultsError(f"{store}: trial {member.trial_id}: there is no model, for it is {why}")
    spec = read_spec(row, store)
    check_version(spec, row, store)
    return spec


@contextmanager
def readable(place: str) -> Iterator[None]:
    """Turn pydantic's errors about a results folder's content into a ResultsError that names the place."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ResultsError(f"{place}: not what this raysl writes ({found})") from None


def read_spec(row: TrialRow, store: Store) -> TrialSpec:
    """Return the spec of a trial; raises ResultsError if its row is not raysl's."""
    with readable(store.address(f"rows/{row.trial_id}.parquet")):
        return TrialSpec.model_validate_json(row.spec)


def check_version(spec: TrialSpec, row: TrialRow, store: Store) -> None:
    """Raise ResultsError if the settings of a trial would give other numbers in this version of raysl."""
    if spec.id != row.trial_id:
        place = store.address(f"rows/{row.trial_id}.parquet")
        raise ResultsError(f"{place}: of an earlier version of raysl; the search's command trains it anew")


def _model(store: Store, spec: TrialSpec, epoch: int | None) -> "TrainedModel":
    from raysl.training.building import load_method
    from raysl.training.torch_state import kept_torch_state
    from raysl.training.trained_model import TrainedModel

    try:
        with kept_torch_state():
            return TrainedModel(spec, *load_method(spec, store, epoch=epoch))
    except FileNotFoundError:
        trial_id = spec.id if spec.trains else str(spec.start)
        known = [str(file.epoch) for file in model_files(store) if file.trial_id == trial_id and file.epoch is not None]
        why = "models are kept of selected configs and of milestones, and the search's command trains lost ones anew"
        asked = "" if epoch is None else f"epoch {epoch}: "
        if epoch is not None:
            why = f"milestones of this trial: {', '.join(known) or 'none'}"
        raise ResultsError(f"{asked}{store.address(model_path(trial_id, epoch))}: not there; {why}") from None
