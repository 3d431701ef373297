"""Builds a trial's method, with its start weights or its trained weights."""

from raysl import methods
from raysl.errors import CheckpointError
from raysl.methods._method import Method
from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.results.storage.store import Store
from raysl.training import checkpoint
from raysl.training.model_file import evaluated_encoder
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec


def build_method(spec: TrialSpec, channels: int, store: Store) -> Method:
    """Return a trial's untrained method; its encoder has the evaluation weights of the trial that it starts from."""
    assert spec.data.image_size is not None, "a trial's data are resolved"
    encoder = build_encoder(spec.model, channels, spec.data.image_size)
    if spec.start is not None:
        start = checkpoint.load(store, model_path(spec.start, spec.start_epoch))
        encoder.load_state_dict(evaluated_encoder(start))
    method = methods.build(spec.method, encoder, spec.data.num_classes)
    if spec.freeze == "backbone":
        freeze_backbone(method)
    return method


def trained_method(spec: TrialSpec, store: Store, weights_of: str | None = None) -> Method:
    """Return a trial's trained method; a trial that trains nothing has its start weights.

    weights_of: id of the trial whose model is loaded; the trial's own if None.
    Raises CheckpointError if the model is damaged or does not fit.
    """
    assert spec.data.channels is not None, "a trial's data are resolved"
    if not spec.trains:
        return build_method(spec, spec.data.channels, store)
    method = build_method(spec.model_copy(update={"start": None}), spec.data.channels, store)
    path = model_path(weights_of or spec.id)
    state = checkpoint.load(store, path)
    try:
        method.load_state_dict(state["method"])
    except (KeyError, TypeError, RuntimeError) as error:  # for example of a version with other parameters
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{store.address(path)}: does not fit this trial: {reason}") from None
    return method
