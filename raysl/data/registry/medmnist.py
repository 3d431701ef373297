"""MedMNIST v2 at 28 x 28 (Yang et al. 2023, doi:10.1038/s41597-022-01721-8), from the published .npz files.

The published split is kept: `train` trains, `test` tests. The validation images are left out: raysl selects without
any, and with them in the training pool accuracies would not be comparable with those of the published split.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysl.data.progress import Progress, reported
from raysl.data.registry.archives import Archive
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write
from raysl.errors import DataError

# The record and, below, the MD5 sums, counts and class names that the medmnist package 3.0.2 publishes
# (MedMNIST/MedMNIST, medmnist/info.py). Version 2.1.0 has the same sums for these files in record 6496656.
ADDRESS = "https://zenodo.org/records/10519652/files/{name}.npz?download=1"
SIZE = 28
SPLITS = ("train", "test")  # MedMNIST's names and raysl's


class MedMnist(NamedTuple):
    """One of the sets: counts are those of the published splits."""

    md5: str
    train: int
    val: int
    test: int
    channels: int
    class_names: tuple[str, ...]


SETS = {
    "pathmnist": MedMnist(
        "a8b06965200029087d5bd730944a56c1",
        89_996,
        10_004,
        7_180,
        3,
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
    ),
    "dermamnist": MedMnist(
        "0744692d530f8e62ec473284d019b0c7",
        7_007,
        1_003,
        2_005,
        3,
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
    ),
    "octmnist": MedMnist(
        "c68d92d5b585d8d81f7112f81e2d0842",
        97_477,
        10_832,
        1_000,
        1,
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "bloodmnist": MedMnist(
        "7053d0359d879ad8a5505303e11de1dc",
        11_959,
        1_712,
        3_421,
        3,
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
    ),
}


def archive_of(name: str) -> Archive:
    """Return the file that a set is published in."""
    return Archive((ADDRESS.format(name=name),), f"{name}.npz", "md5", SETS[name].md5)


def write_medmnist(
    name: str, archive: Path, path: Path, source: str, licence: str, progress: Progress | None = None
) -> None:
    """Write a set's training and test images to `path`.

    Raises DataError if the archive's content is not the published one; nothing in it is unpickled.
    """
    facts = SETS[name]
    source = f"{source}; the published train and test splits, its {facts.val} validation images left out"
    with np.load(archive, allow_pickle=False) as arrays:
        rows: Iterator[Row] = chain.from_iterable(_rows(arrays, split, facts) for split in SPLITS)
        rows = reported(rows, f"encode {name}", facts.train + facts.test, progress)
        write(path, rows, facts.class_names, source, licence)


def _rows(arrays: Any, split: str, facts: MedMnist) -> Iterator[Row]:
    count = facts.train if split == "train" else facts.test
    colours = (3,) if facts.channels == 3 else ()
    images = _array(arrays, f"{split}_images", np.uint8, (count, SIZE, SIZE, *colours))
    labels = _array(arrays, f"{split}_labels", np.integer, (count, 1))
    for image, (label,) in zip(images, labels, strict=True):
        yield Row(encode(image), int(label), split)


def _array(arrays: Any, name: str, kind: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = arrays[name]
    if not np.issubdtype(array.dtype, kind) or array.shape != shape:
        raise DataError(f"{name} holds {array.dtype} {list(array.shape)}; expected {kind.__name__} {list(shape)}")
    return array
