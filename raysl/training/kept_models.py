"""The model files of a results folder: which are there, and which are whole.  Torch-free."""

import re
from typing import NamedTuple

from raysl.results.storage.checkpoint_checksums import is_whole
from raysl.results.storage.store import Store
from raysl.training.paths import EARLIER_MODEL_SUFFIX, MODEL_SUFFIX, earlier_model_path, model_path

_NAME = re.compile(rf"(?P<trial>[^@]+?)(@(?P<epoch>\d+))?({re.escape(MODEL_SUFFIX)}|{re.escape(EARLIER_MODEL_SUFFIX)})")


class ModelFile(NamedTuple):
    """A model file of a results folder.

    epoch: the number of epochs after which a milestone was kept; None is the end of the training.
    """

    trial_id: str
    epoch: int | None
    path: str


def model_files(store: Store) -> list[ModelFile]:
    """Return the model files of a results folder, sorted by name; other files are left out."""
    found = ((name, _NAME.fullmatch(name)) for name in store.list("models", ""))
    return [
        ModelFile(match["trial"], int(match["epoch"]) if match["epoch"] else None, f"models/{name}")
        for name, match in found
        if match
    ]


def kept_model_path(store: Store, trial_id: str, epoch: int | None = None) -> str:
    """Return the path of a trial's model: an earlier version's if only that exists, else `model_path`."""
    path, earlier = model_path(trial_id, epoch), earlier_model_path(trial_id, epoch)
    return earlier if not store.exists(path) and store.exists(earlier) else path


def model_exists(store: Store, trial_id: str, epoch: int | None = None) -> bool:
    """Return whether a trial's model is there; it may be damaged."""
    return store.exists(kept_model_path(store, trial_id, epoch))


def has_model(store: Store, trial_id: str, epoch: int | None = None) -> bool:
    """Return whether a trial's model is there and undamaged (damage is logged, with the path)."""
    return is_whole(store, kept_model_path(store, trial_id, epoch))
