"""Decoded images: made once per machine, then shared by all its trials through the page cache.

A folder of the cache holds, for one content, size, number of channels and split: images (uint8 [N, H, W, C]) and
labels (int64 [N]) of the train pool and, apart, of the test set; the unlabelled images if the set has some; D_u's
statistics; and `meta.json` with each file's size and checksum. The folder appears only when it is complete.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysl.data.progress import Progress
from raysl.data.registry.sets import locate_content
from raysl.data.sampling.permutations import Indices
from raysl.data.sampling.subsets import assign_splits
from raysl.data.settings import TrialData
from raysl.data.storage.decoding import Images, write_arrays
from raysl.data.storage.parquet import read_labels
from raysl.data.storage.paths import cache_home, discard, exclusive, replacing
from raysl.data.storage.scan import forget_scan
from raysl.errors import DataError

ARRAY_VERSION = 2  # increase when the same set and settings give other arrays
SPLIT_FILES = {
    "train": ("train_images.npy", "train_labels.npy", "train_statistics.npy"),
    "test": ("test_images.npy", "test_labels.npy"),
}
UNLABELLED_FILE = "unlabelled_images.npy"
MASK_FILES = {split: (f"{split}_masks.npy", f"{split}_shown.npy") for split in SPLIT_FILES}  # of images with masks

_verified: set[tuple[Path, int, int, int]] = set()  # files whose checksums this process has verified


class MaskArrays(NamedTuple):
    """The masks of images.

    classes: uint8 [N, H, W], memory-mapped: the class of each pixel, or `masks.IGNORED`.
    shown: bool [N, K], the classes that each mask shows.
    """

    classes: Images
    shown: NDArray[np.bool_]


@dataclass(frozen=True)
class TrainArrays:
    """The images to train on.

    images: uint8 [N, H, W, C] of the train pool, memory-mapped.  labels: int64 [N]; all 0 if images have masks.
    unlabelled: uint8 [N_u, H, W, C] of D_u's pool, memory-mapped; `images` itself if the set has no such split.
    mean, std: float32 [C] over D_u's whole pool, of values in [0, 1].
    masks: of the train pool; None if images have classes.
    """

    images: Images
    labels: Indices
    unlabelled: Images
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    masks: MaskArrays | None = None


def prepare(data: TrialData, *, progress: Progress | None = None) -> Path:
    """Return the folder of a trial's arrays; decode the set if the folder is missing or incomplete.

    Any number of processes may call this at once: one decodes, the others wait for it.
    Raises DataError if the set is missing, damaged or has changed since `data` was resolved, or the cache has no room.
    """
    return _ready(data, ("train", "test"), progress)


def is_decoded(data: TrialData) -> bool:
    """Return whether the arrays to train on are complete and undamaged; the test set's files are not opened."""
    return _whole(_folder(data), ("train",))


def load(data: TrialData) -> TrainArrays:
    """Return the arrays to train on, prepared if need be; the test set's files are not opened."""
    folder = _ready(data, ("train",))
    images = _mapped(folder / "train_images.npy")
    has_unlabelled = (folder / UNLABELLED_FILE).exists()
    mean, std = np.load(folder / "train_statistics.npy")
    return TrainArrays(
        images=images,
        labels=np.load(folder / "train_labels.npy"),
        unlabelled=_mapped(folder / UNLABELLED_FILE) if has_unlabelled else images,
        mean=mean,
        std=std,
        masks=_masks(folder) if data.masks else None,
    )


def _masks(folder: Path) -> MaskArrays:
    classes, shown = MASK_FILES["train"]
    return MaskArrays(_mapped(folder / classes), np.load(folder / shown))


def class_names(data: TrialData, *, download: bool = True) -> tuple[str, ...]:
    """Return the names of the images' classes, in the order of their labels.

    Raises DataError if the set is missing, and cannot be downloaded or is not to be.
    """
    return read_labels(locate_content(data.source, data.digest, download=download)).class_names


def load_test(data: TrialData) -> tuple[Images, Indices]:
    """Return the sealed test set: images uint8 [N, H, W, C], memory-mapped, and labels int64 [N]."""
    folder = _ready(data, ("test",))
    return _mapped(folder / "test_images.npy"), np.load(folder / "test_labels.npy")


def load_test_masks(data: TrialData) -> tuple[Images, Images]:
    """Return the sealed test set of images with masks: uint8 [N, H, W, C] and [N, H, W], memory-mapped."""
    folder = _ready(data, ("test",))
    return _mapped(folder / "test_images.npy"), _mapped(folder / "test_masks.npy")


def _mapped(path: Path) -> Images:
    # A plain array over the map: indexing numpy's memmap class takes longer per batch.
    return np.asarray(np.load(path, mmap_mode="r"))


def _folder(data: TrialData) -> Path:
    facts = [ARRAY_VERSION, data.digest, data.image_size, data.channels, data.train_fraction, data.decoding]
    return cache_home() / "arrays" / hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _ready(data: TrialData, splits: tuple[str, ...], progress: Progress | None = None) -> Path:
    folder = _folder(data)
    if not _whole(folder, splits):
        with exclusive(folder):
            if not _whole(folder, splits):  # no other process has made it meanwhile
                _build(data, folder, progress)
    return folder


def _whole(folder: Path, splits: tuple[str, ...]) -> bool:
    """Return whether all files of the given splits are there as they were written."""
    try:
        files = json.loads((folder / "meta.json").read_text())["files"]
        names = [name for split in splits for name in SPLIT_FILES[split]]
        names += [name for split in splits for name in MASK_FILES[split] if name in files]
        if "train" in splits and UNLABELLED_FILE in files:
            names.append(UNLABELLED_FILE)
        return all(_file_whole(folder / name, *files[name]) for name in names)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _file_whole(path: Path, size: int, checksum: int) -> bool:
    stat = path.stat()
    seen = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if stat.st_size == size and seen not in _verified and _checksum(path) == checksum:
        _verified.add(seen)
    return stat.st_size == size and seen in _verified


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _build(data: TrialData, folder: Path, progress: Progress | None) -> None:
    path = locate_content(data.source, data.digest, progress=progress)
    index = read_labels(path)
    splits = assign_splits(index.labels, index.splits, len(index.class_names), data.train_fraction)
    assert data.image_size is not None, "`resolve` gave it"
    assert data.channels is not None, "`resolve` gave it"
    try:
        discard(folder)  # what is there is damaged
        with replacing(folder) as temporary:
            temporary.mkdir()
            files, digest = write_arrays(temporary, path, index, splits, data.image_size, data.channels, progress)
            if digest != data.digest:
                forget_scan(path)  # the cached digest is wrong
                raise DataError(f"{path}: the content has changed since it was looked at: {digest}, not {data.digest}")
            (temporary / "meta.json").write_text(json.dumps({"source": str(path), "files": files}, indent=1))
    except OSError as error:
        raise DataError(
            f"{folder}: the images of {data.source} cannot be written: {error.strerror}; "
            "set RAYSL_CACHE to a folder with room"
        ) from error
