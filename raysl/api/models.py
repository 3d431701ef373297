"""`raysl.load_model`: a trained model of a results folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from raysl.api.launching import check_whole
from raysl.api.turns import own_turn
from raysl.errors import ResultsError, UserError, choices
from raysl.results.records.rows import TrialRow, read_row
from raysl.results.records.stages import Member, StageRecord, current_ids, read_selections, read_stages
from raysl.results.storage.store import Store
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec

if TYPE_CHECKING:
    from raysl.training.trained_model import TrainedModel

SELECTED = "selected"


def load_model(
    results: str | os.PathLike[str], stage: str | None = None, config: str = SELECTED, seed: int = 0
) -> "TrainedModel":
    """Return a trained model of a results folder, in eval mode, on the CPU.

    Args:
        results: folder or URI.
        stage: its name, or its id if several current searches have a stage of that name; the only one if None.
        config: id of a config, or `selected`. Models of other configs are usually dropped when a stage is done.
        seed: of the trial.

    Returns:
        the model: `model(model.preprocess(images))` gives features, `model.classify(...)` logits if its method has
        learnt classes.

    Raises:
        UserError: the stage, config or seed does not exist; the model is missing or damaged; the training images, whose
            mean and deviation the model needs, are not on this machine.

    Example:
        model = raysl.load_model("results/rotation_semi", stage="semi", seed=0)
        features = model(model.preprocess(Path("digit.png").read_bytes()))
    """
    check_whole("seed", seed, 0)
    store = Store.open(os.fsdecode(results), create=False)
    record = _stage(store, stage)
    spec = _finished(store, _member(store, record, config, seed))
    with own_turn():
        return _model(store, spec)


def _stage(store: Store, name: str | None) -> StageRecord:
    stages = read_stages(store)
    current = current_ids(stages)
    found = [one for one in stages if one.stage_id == name or (one.stage_id in current and name in (None, one.stage))]
    if not stages:
        raise ResultsError(f"{store}: no search has been here")
    if not found:
        raise ResultsError(f"{store}: stage {name}: {choices(str(name), {one.stage for one in stages})}")
    if len(found) > 1:
        known = ", ".join(f"{one.stage_id} ({one.experiment}/{one.stage})" for one in found)
        asked = "several stages" if name is None else f"several stages {name}"
        raise ResultsError(f"{store}: {asked}; give the name or the id of one: {known}")
    return found[0]


def _member(store: Store, record: StageRecord, config: str, seed: int) -> Member:
    place = f"{store}: stage {record.stage}"
    if config == SELECTED:
        selection = read_selections(store).get(record.stage_id)
        if selection is None or selection.config_id is None:
            raise ResultsError(f"{place}: {selection.reason if selection else 'nothing is selected yet'}")
        config = selection.config_id
    members = [member for member in record.members if member.config_id == config]
    if not members:
        known = {SELECTED, *(member.config_id for member in record.members)}
        raise UserError(f"{place}: config {config}: {choices(str(config), known)}")
    found = next((member for member in members if member.seed == seed), None)
    if found is None:
        raise UserError(f"{place}: seed {seed}: choices: {', '.join(str(member.seed) for member in members)}")
    return found


def _finished(store: Store, member: Member) -> TrialSpec:
    """Return the spec of a finished trial; raises ResultsError if the trial is not finished."""
    row = read_row(store, member.trial_id)
    if row is None or row.status != "finished":
        why = "not trained yet" if row is None else f"{row.status}: {row.reason}"
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


def _model(store: Store, spec: TrialSpec) -> "TrainedModel":
    from raysl.training.building import trained_method
    from raysl.training.torch_state import kept_torch_state
    from raysl.training.trained_model import TrainedModel

    try:
        with kept_torch_state():
            return TrainedModel(spec, trained_method(spec, store))
    except FileNotFoundError:
        place = store.address(model_path(spec.id if spec.trains else str(spec.start)))
        raise ResultsError(
            f"{place}: not there; models are kept of selected configs and of milestones, and the search's command "
            "trains lost ones anew"
        ) from None
