"""Start weights of a backbone: read from a file, checked, and kept in a results folder, from which trials read them."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from raysl.data.storage.paths import data_home, data_homes
from raysl.errors import CheckpointError, UserError, quoted
from raysl.models.backbones import build_backbone
from raysl.models.settings import FILE, IMAGENET, ModelSettings, StartWeights
from raysl.results.storage.checkpoint_checksums import add_metadata, checked_metadata, is_whole
from raysl.results.storage.store import Store
from raysl.training.model_file import Normalisation, normalisation_of, whole_tensors

IMAGENET_STATISTICS = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
IMAGENET_BACKBONES = ("resnet18", "resnet50")
WRAPPERS = ("module.", "encoder_q.", "encoder.", "backbone.")  # outermost first: only what is inside counts
CLASSIFIERS = ("fc.", "classifier.", "head.", "AuxLogits.")
COUNTER = "num_batches_tracked"  # not in files of old versions of PyTorch; no feature depends on it
_INPUT = re.compile(r"^RGB, \(x - (?P<mean>\d+\.?\d*)\) / (?P<std>[1-9]\d*\.?\d*) of 0\.\.255$")
LAYERS = ("backbone", "stem", "norm_eps")  # settings that decide features and that weights do not show
STATES = ("state_dict", "model")  # keys of a state dict within a checkpoint


class BackboneWeights(NamedTuple):
    """Weights that fit a backbone.

    tensors: by the backbone's names.  mean, std: of each channel of the images that they were trained on.
    digest: of names, shapes and values, 32 hex digits.
    """

    tensors: Mapping[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str


def read_source(
    settings: ModelSettings, weights: StartWeights, channels: int, *, download: bool = True
) -> BackboneWeights:
    """Return start weights that fit a model's backbone.

    channels: of the images.  download: whether weights of ImageNet may be downloaded.
    Raises UserError if they are missing or unreadable, do not fit (every misfit is named), or nothing says how their
    images were normalised.
    """
    path = _located(settings, weights, download)
    given, metadata = _read(path)
    _check_layers(settings, metadata, path)
    with torch.random.fork_rng(()):
        backbone, _ = build_backbone(settings, channels)
    tensors = _fitting(_inner(given, metadata), backbone.state_dict(), path)
    known = Normalisation(tuple(weights.mean or ()), tuple(weights.std or ())) if weights.mean else None
    known = known or _said(metadata, path)
    if known is None and weights.source == IMAGENET and settings.backbone in IMAGENET_BACKBONES:
        known = IMAGENET_STATISTICS
    if known is None:
        raise UserError(
            f"{path} does not say how its images were normalised; give weights: {{source: {weights.source}, "
            "mean: [...], std: [...]}"
        )
    if {len(known.mean), len(known.std)} != {channels}:
        raise UserError(
            f"mean and std are of {len(known.mean)} and {len(known.std)} channels, and images have {channels}"
        )
    if not all(map(math.isfinite, (*known.mean, *known.std))) or min(known.std) <= 0:
        raise UserError(f"mean {list(known.mean)} and std {list(known.std)}: std must be above 0, and both finite")
    return BackboneWeights(tensors, *known, _digest(tensors))


def shipped_path(digest: str) -> str:
    """Return the path of start weights in a results folder."""
    return f"weights/{digest}.safetensors"


def is_shipped(weights: StartWeights, store: Store) -> bool:
    """Return whether resolved start weights are in a results folder, undamaged."""
    return weights.digest is not None and is_whole(store, shipped_path(weights.digest))


def ship(weights: BackboneWeights, store: Store) -> None:
    """Write start weights into a results folder."""
    path = shipped_path(weights.digest)
    metadata = {"mean": json.dumps(weights.mean), "std": json.dumps(weights.std)}
    store.write(path, add_metadata(safetensors.torch.save(whole_tensors(weights.tensors)), metadata, path))


def read_shipped(weights: StartWeights, store: Store) -> dict[str, Tensor]:
    """Return resolved start weights from a results folder; raises CheckpointError if they are missing or damaged."""
    path = shipped_path(str(weights.digest))
    try:
        content = store.read(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"{store.address(path)}: not there; the search's command copies it from its source"
        ) from None
    checked_metadata(content, path, store.address(path))
    return dict(safetensors.torch.load(content))


def _located(settings: ModelSettings, weights: StartWeights, download: bool) -> Path:
    if weights.source.startswith(FILE):
        path = Path(os.path.expanduser(weights.source.removeprefix(FILE))).absolute()
        if not path.is_file():
            raise UserError(f"{path} does not exist, or is no file")
        return path
    if settings.backbone not in IMAGENET_BACKBONES:
        return _given_imagenet(settings.backbone)
    from torchvision.models import get_model_weights

    url = str(get_model_weights(settings.backbone).IMAGENET1K_V1.url)
    name = url.rpartition("/")[2]
    for home in data_homes():
        if (home / "weights" / name).is_file():
            return home / "weights" / name
    folder = data_home() / "weights"
    if not download:
        raise UserError(f"{folder / name} is not there, and downloading is switched off")
    try:
        torch.hub.load_state_dict_from_url(url, str(folder), "cpu", progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{url} cannot be downloaded to {folder}: {error}") from None
    return folder / name


def _given_imagenet(backbone: str) -> Path:
    """Return the file of ImageNet weights that a user has put into a data folder, for a backbone of timm's."""
    name = f"{backbone}_imagenet.safetensors"
    for home in data_homes():
        if (home / "weights" / name).is_file():
            return home / "weights" / name
    known = " and ".join(IMAGENET_BACKBONES)
    raise UserError(
        f"imagenet is downloaded for {known}; for {backbone} it is looked for in {data_home() / 'weights' / name}, "
        f"which is not there; {FILE}PATH takes another file"
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors of a file by name, and its metadata; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(str(path), "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a forged file can cause any exception in the reader
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path}: refused, nothing in it was executed: {reason}") from None
    for key in STATES:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds more or something else than tensors by name; save a model's state_dict()")
    return {str(key): value for key, value in state.items()}, {}


def _check_layers(settings: ModelSettings, metadata: Mapping[str, str], path: Path) -> None:
    """Raise UserError if a file of raysl's says that its backbone computes otherwise with the same weights."""
    try:
        known = json.loads(metadata["spec"])["model"] if "spec" in metadata else json.loads(metadata.get("model", "{}"))
        differing = {key: known.get(key) for key in LAYERS if known and known.get(key) != getattr(settings, key)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: its metadata hold no settings of a model: {quoted(dict(metadata))}") from None
    if differing:
        said = ", ".join(f"model.{key}: {'null' if value is None else value}" for key, value in differing.items())
        raise UserError(f"{path}: its weights were trained with {said}, and compute other features without")


def _inner(given: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """Return weights without the prefixes of what they were wrapped in, and without classifiers."""
    found = dict(given)
    for prefix in (*([f"{metadata['evaluated']}."] if "evaluated" in metadata else []), *WRAPPERS):
        inside = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        found = inside or found
    return {key: value for key, value in found.items() if not key.startswith(CLASSIFIERS)}


def _fitting(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return given weights in the types of the wanted ones; raises UserError that names everything that misfits."""
    missing = [name for name in wanted if name not in given and not name.endswith(COUNTER)]
    unknown = [name for name in given if name not in wanted]
    both = [name for name in wanted if name in given]
    shapes = [
        f"{name} {list(given[name].shape)} instead of {list(wanted[name].shape)}"
        for name in both
        if given[name].shape != wanted[name].shape
    ]
    infinite = [name for name in both if not given[name].isfinite().all()]
    reasons = {
        "missing": missing,
        "not the backbone's": unknown,
        "of another shape": shapes,
        "not finite": infinite,
    }
    if any(reasons.values()):
        said = "; ".join(f"{reason}: {_listed(names)}" for reason, names in reasons.items() if names)
        raise UserError(f"{path} does not fit the backbone: {said}")
    return {name: given[name].to(value.dtype) if name in given else value for name, value in wanted.items()}


def _listed(names: Iterable[str], most: int = 12) -> str:
    known = list(names)
    more = [f"and {len(known) - most} more"] if len(known) > most else []
    return ", ".join([*known[:most], *more])


def _said(metadata: Mapping[str, str], path: Path) -> Normalisation | None:
    """Return the normalisation that a file's metadata states; None if it says nothing of it.

    It is in `normalisation`, or in `mean` and `std`, as JSON; or in `input`, as in `RGB, (x - 127) / 128 of 0..255`.
    """
    try:
        if "normalisation" in metadata:
            return normalisation_of(metadata["normalisation"])
        if {"mean", "std"} <= metadata.keys():
            return normalisation_of(f"[{metadata['mean']}, {metadata['std']}]")
        if found := _INPUT.search(metadata.get("input", "")):
            mean, std = (float(found[name]) / 255 for name in ("mean", "std"))
            return Normalisation((mean,) * 3, (std,) * 3)
    except ValueError:
        raise UserError(f"{path}: its mean and std are no numbers: {quoted(dict(metadata))}") from None
    return None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
