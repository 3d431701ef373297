"""CIFAR's binary archives (Krizhevsky 2009), with the same images and labels as the Python archives.

A record is its labels, one byte each with the finest last, and then 32 x 32 bytes each of red, green and blue.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raysl.data.progress import Progress, reported
from raysl.data.registry.archives import Archive
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write
from raysl.errors import DataError

EDGE, CHANNELS = 32, 3
ADDRESS = "https://www.cs.toronto.edu/~kriz/"


class Binary(NamedTuple):
    """An archive of records.

    names: its file of class names, a line each.  num_labels: of a record.
    """

    archive: Archive
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    num_labels: int


def _archive(name: str, md5: str) -> Archive:  # checksums are those of the authors' page
    return Archive((f"{ADDRESS}{name}",), name, "md5", md5)


BINARIES = {
    "cifar10": Binary(
        _archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
        "cifar-10-batches-bin",
        tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
        1,
    ),
    "cifar100": Binary(
        _archive("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        "fine_label_names.txt",
        2,
    ),
}


def write_cifar(
    name: str, archive: Path, path: Path, source: str, licence: str, progress: Progress | None = None
) -> None:
    """Write an archive's images to `path`.

    Raises DataError if the archive's content is not the published one.
    """
    facts = BINARIES[name]
    with tarfile.open(archive, "r:gz") as files:
        names = _read(files, facts, facts.names).decode().split()
        rows = reported(_rows(files, facts, len(names)), f"encode {name}", None, progress)
        write(path, rows, names, source, licence)


def _rows(files: tarfile.TarFile, facts: Binary, num_classes: int) -> Iterator[Row]:
    length = facts.num_labels + CHANNELS * EDGE * EDGE
    for split, names in (("train", facts.train), ("test", (facts.test,))):
        for name in names:
            content = np.frombuffer(_read(files, facts, name), np.uint8)
            if len(content) == 0 or len(content) % length:
                raise DataError(f"{name} holds {len(content)} bytes; expected records of {length}")
            for record in content.reshape(-1, length):
                label = int(record[facts.num_labels - 1])
                if label >= num_classes:
                    raise DataError(f"{name} holds label {label} of {num_classes} classes")
                pixels = record[facts.num_labels :].reshape(CHANNELS, EDGE, EDGE)
                yield Row(encode(np.ascontiguousarray(pixels.transpose(1, 2, 0))), label, split)


def _read(files: tarfile.TarFile, facts: Binary, name: str) -> bytes:
    member = files.extractfile(f"{facts.folder}/{name}")  # a KeyError if it is missing
    if member is None:
        raise DataError(f"{facts.folder}/{name} is no file")
    with member:
        return member.read()
