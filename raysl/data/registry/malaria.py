"""Malaria: cells in thin blood smears, from the archive of the NIH's National Library of Medicine (Rajaraman 2018)."""

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from raysl.data.progress import Progress, reported
from raysl.data.registry.archives import Archive
from raysl.data.sampling.subsets import train_split
from raysl.data.storage.parquet import SPLITS, TEST, TRAIN, Row, write
from raysl.errors import DataError

ARCHIVE = Archive(
    ("https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip",),
    "cell_images.zip",
    "sha256",
    # As TensorFlow Datasets records it for this address (datasets/malaria/checksums.tsv).
    "0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668",
)
CLASSES = ("Uninfected", "Parasitized")
CELLS = 13_779  # of each class


def write_malaria(archive: Path, path: Path, source: str, licence: str, progress: Progress | None = None) -> None:
    """Write the archive's cells to `path`.

    Raises DataError if the archive's content is not the published one.
    """
    with zipfile.ZipFile(archive) as cells:
        rows = reported(_cells(cells), "read malaria", 2 * CELLS, progress)
        write(path, rows, CLASSES, source, licence)


def _cells(archive: zipfile.ZipFile) -> Iterator[Row]:
    """Yield the cells, class by class in the order of their names.

    Half of them train, the same as with `train_fraction: 0.5`.
    """
    pictures = [PurePosixPath(name) for name in sorted(archive.namelist()) if name.endswith(".png")]
    cells = [(path, label) for label, kind in enumerate(CLASSES) for path in pictures if path.parent.name == kind]
    labels = np.array([label for _, label in cells], np.int64)
    counts = np.bincount(labels, minlength=len(CLASSES)).tolist()
    if len(pictures) != len(cells) or counts != [CELLS] * len(CLASSES):
        raise DataError(
            f"{ARCHIVE.name} holds {len(pictures)} PNG files, {counts} of them in {CLASSES}; "
            f"expected {CELLS} in each and no others"
        )
    trains = train_split(labels, len(CLASSES), len(labels) // 2)
    for (path, label), train in zip(cells, trains, strict=True):
        yield Row(archive.read(path.as_posix()), label, SPLITS[TRAIN if train else TEST])
