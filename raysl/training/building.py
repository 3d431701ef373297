"""Builds a trial's method, with its start weights or its trained weights."""

from torch import nn

from raysl import methods
from raysl.errors import CheckpointError
from raysl.methods._method import Method
from raysl.methods.frozen import Frozen
from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.results.records.rows import read_row
from raysl.results.storage.store import Store
from raysl.training.kept_models import kept_model_path
from raysl.training.model_file import Normalisation, read_model
from raysl.training.spec import TrialSpec
from raysl.training.start_weights import read_shipped


def build_method(spec: TrialSpec, channels: int, store: Store) -> Method:
    """Return a trial's untrained method, with its start weights.

    They are the evaluation weights of the trial that it starts from, or the backbone's from a file, or random.
    """
    assert spec.data.image_size is not None, "a trial's data are resolved"
    encoder = build_encoder(spec.model, channels, spec.data.image_size)
    if spec.start is not None:
        encoder.load_state_dict(read_model(store, spec.start, spec.start_epoch).encoder())
    elif spec.model.weights is not None:
        encoder.backbone.load_state_dict(read_shipped(spec.model.weights, store))
    method = methods.build(spec.method, encoder, spec.data.num_classes)
    method.remember(spec.data.unlabelled)
    if spec.freeze == "backbone":
        freeze_backbone(method)
    return method


def without_start(spec: TrialSpec) -> TrialSpec:
    """Return a spec whose training begins with random weights."""
    model = spec.model.model_copy(update={"weights": None})
    return spec.model_copy(update={"start": None, "model": model})


def trained_method(spec: TrialSpec, store: Store, weights_of: str | None = None) -> Method:
    """Return a trial's trained method; arguments and errors as of `load_method`."""
    return load_method(spec, store, weights_of)[0]


def _classifier_of_start(spec: TrialSpec, store: Store) -> nn.Module | None:
    """Return the evaluated classifier of the trial that a trial starts from, after the epoch that it starts from."""
    row = read_row(store, str(spec.start))
    if row is None:
        raise CheckpointError(f"{store}: trial {spec.start} has no row, which would say what its classifier is")
    start = TrialSpec.model_validate_json(row.spec)
    return load_method(start, store, epoch=spec.start_epoch)[0].evaluation().classifier


def load_method(
    spec: TrialSpec, store: Store, weights_of: str | None = None, epoch: int | None = None
) -> tuple[Method, Normalisation | None]:
    """Return a trial's trained method, and the normalisation of its images if the model file has it.

    A trial that trains nothing has its start weights, its start's classifier for the probe `classifier`, and no model
    file.
    weights_of: id of the trial whose model is loaded; the trial's own if None.
    epoch: the number of epochs after which a milestone was kept; None is the end of the training.
    Raises FileNotFoundError if there is no such model, CheckpointError if it is damaged or does not fit.
    """
    assert spec.data.channels is not None, "a trial's data are resolved"
    if not spec.trains:
        if epoch is not None:
            raise FileNotFoundError(f"trial {spec.id} trains nothing, and has no milestones")
        method = build_method(spec, spec.data.channels, store)
        if spec.probe == "classifier":
            assert isinstance(method, Frozen)
            method.classifier = _classifier_of_start(spec, store)
        return method, None
    method = build_method(without_start(spec), spec.data.channels, store)
    state = read_model(store, weights_of or spec.id, epoch)
    try:
        method.load_state_dict(state.tensors)
    except (TypeError, RuntimeError) as error:  # for example of a version with other parameters
        reason = str(error).partition("\n")[0]
        place = store.address(kept_model_path(store, weights_of or spec.id, epoch))
        raise CheckpointError(f"{place}: does not fit this trial: {reason}") from None
    return method, state.normalisation
