"""Models of trials as safetensors files: the state of a method, and metadata that says what it is.

Other programs read them as they are, for example with `safetensors.torch.load_file`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from raysl import __version__
from raysl.errors import CheckpointError
from raysl.methods._method import Method
from raysl.results.storage.checkpoint_checksums import add_metadata, checked_metadata
from raysl.results.storage.store import Store
from raysl.training import checkpoint
from raysl.training.kept_models import kept_model_path
from raysl.training.paths import earlier_model_path, model_path
from raysl.training.spec import TrialSpec

TRAINED = "encoder"  # the trained encoder: the evaluated one in older files, which name none


class Normalisation(NamedTuple):
    """The mean and standard deviation of each channel of the images that a model was trained on, in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


_NORMALISATION = TypeAdapter(Normalisation)


def normalisation_of(text: str) -> Normalisation:
    """Return a normalisation from JSON; raises ValueError if it is none."""
    return _NORMALISATION.validate_json(text)


class ModelState(NamedTuple):
    """A trained method.

    tensors: its state.  evaluated: the name of the evaluated encoder in it.
    normalisation: of its input images; None in files of earlier versions.
    """

    tensors: Mapping[str, Tensor]
    evaluated: str
    normalisation: Normalisation | None = None

    def encoder(self) -> dict[str, Tensor]:
        """Return the evaluation weights of the encoder, from which another trial starts."""
        prefix = f"{self.evaluated}."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def state_of(method: Method, normalisation: Normalisation | None) -> ModelState:
    """Return the state of a method, with the tensors that it uses itself."""
    encoder = method.evaluation().encoder
    names: list[str] = [name for name, module in method.named_modules() if module is encoder]
    assert names, "what is evaluated is a submodule of the method: its weights would not be kept"
    return ModelState(method.state_dict(), names[0], normalisation)


def write_model(store: Store, spec: TrialSpec, epoch: int | None, state: ModelState) -> None:
    """Write a trial's model, atomically; it replaces one of an earlier version.

    epoch: the number of epochs after which a milestone is kept; None for the end of the training.
    """
    path = model_path(spec.id, epoch)
    metadata = {
        "raysl": __version__,
        "trial_id": spec.id,
        "epoch": str(spec.epochs if epoch is None else epoch),
        "method": str(spec.method["name"]),
        "evaluated": state.evaluated,
        "spec": spec.model_dump_json(),
    }
    if state.normalisation is not None:
        metadata["normalisation"] = _NORMALISATION.dump_json(state.normalisation).decode()
    content = safetensors.torch.save(whole_tensors(state.tensors))
    store.write(path, add_metadata(content, metadata, path))
    store.delete(earlier_model_path(spec.id, epoch))


def read_model(store: Store, trial_id: str, epoch: int | None = None) -> ModelState:
    """Return a trial's model, on the CPU; arguments as of `model_path`.

    Raises FileNotFoundError if there is none, CheckpointError if it is damaged, another trial's or not raysl's.
    """
    path = kept_model_path(store, trial_id, epoch)
    place = store.address(path)
    if path == earlier_model_path(trial_id, epoch):
        state = checkpoint.load(store, path)
        if not isinstance(state.get("method"), dict):
            raise CheckpointError(f"{place}: refused, it holds no state of a method")
        return ModelState(state["method"], state.get("evaluated", TRAINED))
    content = store.read(path)
    metadata = checked_metadata(content, path, place)
    try:
        tensors = safetensors.torch.load(content)
        given = metadata.get("normalisation")
        normalisation = None if given is None else normalisation_of(given)
        return ModelState(tensors, metadata["evaluated"], normalisation)
    except (safetensors.SafetensorError, ValidationError, KeyError, ValueError) as error:
        raise CheckpointError(f"{place}: refused, it is no model: {str(error).partition(chr(10))[0]}") from None


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors as safetensors takes them: on the CPU, contiguous, and each with memory of its own."""
    copies = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in tensors.items()}
    return {name: copy.copy_(tensors[name].detach()) for name, copy in copies.items()}
