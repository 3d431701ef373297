"""Write a set's decoded images as .npy files, in one pass over its Parquet file."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysl.data.progress import Progress
from raysl.data.storage.images import ImageError, decode
from raysl.data.storage.masks import MaskValues, decode_masks
from raysl.data.storage.parquet import (
    SPLITS,
    TEST,
    TRAIN,
    UNLABELLED,
    ContentDigest,
    Labels,
    image_place,
    read_batches,
)
from raysl.errors import DataError

LABELLED = (TRAIN, TEST)  # splits whose images have targets
LEAST_STD = 1 / 255  # least standard deviation: keeps normalised values of a constant channel finite

Images = NDArray[np.uint8]
FileFacts = tuple[int, int]  # size in bytes, CRC-32


def write_arrays(
    folder: Path,
    path: Path,
    index: Labels,
    splits: NDArray[np.int8],
    size: int,
    channels: int,
    progress: Progress | None,
) -> tuple[dict[str, FileFacts], str]:
    """Write SPLIT_images.npy, SPLIT_labels.npy and train_statistics.npy.

    Of images with masks, also SPLIT_masks.npy, and SPLIT_shown.npy, bool [N, K]: the classes that each mask shows.
    splits: int8 [N], the split of each row of the file.
    Returns each file's size and checksum, and the digest of the set's content.
    Raises DataError for an image that cannot be decoded, with its place.
    """
    counts = np.bincount(splits, minlength=len(SPLITS)).tolist()
    pool = UNLABELLED if counts[UNLABELLED] else TRAIN
    files = {
        number: _Npy(folder / f"{SPLITS[number]}_images.npy", (count, size, size, channels), "uint8")
        for number, count in enumerate(counts)
        if count
    }
    masks = None if index.mask_values is None else _MaskFiles(folder, path, index.mask_values, counts, size)
    statistics = _Statistics(channels)
    digest = ContentDigest(index)
    done = 0
    for batch in read_batches(path):
        digest.update(batch)
        pixels = _decoded(path, batch, size, channels, done, whole=masks is not None)
        batch_splits = splits[done : done + len(pixels)]
        for number, file in files.items():
            file.append(pixels[batch_splits == number])
        if masks is not None:
            masks.append(batch, batch_splits, done)
        statistics.add(pixels[batch_splits == pool])
        done += len(pixels)
        if progress:
            progress(f"decode {path.name}", done, len(splits))
    written = [*files.values(), *(masks.files if masks else ()), *_small(folder, index, splits, statistics)]
    return _closed(written), digest.hexdigest()


def _decoded(path: Path, batch: Any, size: int, channels: int, first_row: int, *, whole: bool) -> Images:
    with _placed(path):
        return decode(batch.column("image").to_pylist(), size, channels, first_row, whole=whole)


@contextmanager
def _placed(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise DataError(f"{image_place(path, error.row)} {error.wrong}") from error


class _Npy:
    """An .npy file of known shape that is written in order, with its size and checksum."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        header = BytesIO()
        facts = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, facts)
        self.path = path
        self.size = self.checksum = 0
        self.file = path.open("wb")
        self._write(header.getbuffer())

    def append(self, rows: NDArray[Any]) -> None:
        if rows.size:
            self._write(np.ascontiguousarray(rows).data.cast("B"))

    def _write(self, content: memoryview) -> None:
        self.file.write(content)
        self.size += len(content)
        self.checksum = zlib.crc32(content, self.checksum)


class _MaskFiles:
    """The files of masks that train and test, and the classes that each mask shows.

    folder: of the files.  path: of the set.
    """

    def __init__(self, folder: Path, path: Path, values: MaskValues, counts: list[int], size: int) -> None:
        self.path, self.values, self.size = path, values, size
        places = [(number, SPLITS[number], counts[number]) for number in LABELLED]
        self.masks = {
            n: _Npy(folder / f"{split}_masks.npy", (count, size, size), "uint8") for n, split, count in places
        }
        width = len(values.class_names)
        self.shown = {n: _Npy(folder / f"{split}_shown.npy", (count, width), "bool") for n, split, count in places}

    @property
    def files(self) -> list["_Npy"]:
        return [*self.masks.values(), *self.shown.values()]

    def append(self, batch: Any, splits: NDArray[np.int8], first_row: int) -> None:
        for row, (mask, split) in enumerate(zip(batch.column("mask"), splits.tolist(), strict=True), start=first_row):
            if split in LABELLED:
                with _placed(self.path):
                    classes = decode_masks([mask.as_py()], self.size, self.values, row)
                self.masks[split].append(classes)
                self.shown[split].append(np.isin(np.arange(len(self.values.class_names)), np.unique(classes)))


def _small(folder: Path, index: Labels, splits: NDArray[np.int8], statistics: "_Statistics") -> list[_Npy]:
    arrays = {
        "train_labels": index.labels[splits == TRAIN],
        "test_labels": index.labels[splits == TEST],
        "train_statistics": statistics.result(),
    }
    files = []
    for name, array in arrays.items():
        files.append(_Npy(folder / f"{name}.npy", array.shape, array.dtype.str))
        files[-1].append(array)
    return files


def _closed(files: list[_Npy]) -> dict[str, FileFacts]:
    for file in files:
        file.file.close()
    return {file.path.name: (file.size, file.checksum) for file in files}


class _Statistics:
    """Mean and standard deviation of each channel; integer sums make them independent of the order of images."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.sums = np.zeros((2, channels), np.int64)  # of values, and of their squares

    def add(self, pixels: Images) -> None:
        for channel in range(pixels.shape[-1]):
            values = np.ascontiguousarray(pixels[..., channel])
            squares = np.square(values, dtype=np.uint16)
            self.sums[:, channel] += values.sum(dtype=np.int64), squares.sum(dtype=np.int64)
        self.count += pixels[..., 0].size

    def result(self) -> NDArray[np.float32]:
        """Return float32 [2, C]: mean and standard deviation, of values in [0, 1]."""
        mean, square = self.sums / self.count
        std = np.sqrt(np.maximum(square - mean**2, 0.0)) / 255
        return np.stack([mean / 255, np.maximum(std, LEAST_STD)]).astype(np.float32)
