"""Known sets from where their authors keep them, written in our Parquet form.

torchvision knows the addresses and checksums of all but malaria and reads the files; we fetch them, so that a
download has a time limit, tells how far it is, and fails with one message.
"""

import hashlib
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from raysl.data.images import encode
from raysl.data.parquet import SPLITS, TEST, TRAIN, Row, write
from raysl.data.places import discard
from raysl.data.progress import Progress, reported
from raysl.data.subsets import train_split
from raysl.errors import DataError

TIMEOUT = 60.0  # seconds without an answer
CHUNK = 1 << 20
# What fetching, unpacking and reading raise.
BAD_CONTENT = (RuntimeError, ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
FAILURES = (OSError, HTTPException, *BAD_CONTENT)

TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
    "stl10": "STL10",
}
# torchvision's names of the splits, in the order of `SPLITS`.
SPLIT_NAMES = {"SVHN": ("train", "test"), "STL10": ("train", "test", "unlabeled")}

MALARIA_URL = "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip"
# As TensorFlow Datasets records it for this address (datasets/malaria/checksums.tsv).
MALARIA_SHA256 = "0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668"
MALARIA_CLASSES = ("Uninfected", "Parasitized")
MALARIA_CELLS = 13_779  # of each class


class Archive(NamedTuple):
    """A file to fetch: where from (the first that answers), where to, and its checksum."""

    urls: tuple[str, ...]
    path: Path
    algorithm: str
    checksum: str


def download_set(name: str, path: Path, source: str, licence: str, progress: Progress | None = None) -> None:
    """Download a known set and write it to `path`, whose folder exists; nothing else is left there.

    Raises DataError naming the addresses, what went wrong and what to do instead.
    """
    scratch = path.with_name(f".{name}.download")
    discard(scratch)
    try:
        scratch.mkdir()
        if name == "malaria":
            _write_malaria(path, scratch, source, licence, progress)
        else:
            _write_torchvision(name, path, scratch, source, licence, progress)
    except FAILURES as error:
        raise DataError(
            f"data.source: {name} could not be downloaded: {error}. Without a connection, put {path.name} there by "
            f"hand: in {path.parent}, or in a folder that RAYSL_DATA names"
        ) from error
    finally:
        discard(scratch)


def fetch(archive: Archive, progress: Progress | None = None) -> None:
    """Download a file from the first address that gives it whole.

    Raises DataError naming every address and why it failed.
    """
    archive.path.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in archive.urls:
        try:
            checksum = _transfer(url, archive, progress)
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error}")
            continue
        if checksum == archive.checksum:
            return
        reasons.append(f"{url}: {archive.algorithm} is {checksum}, not {archive.checksum} (truncated or altered)")
    raise DataError("; ".join(reasons))


def _transfer(url: str, archive: Archive, progress: Progress | None) -> str:
    request = urllib.request.Request(url, headers={"User-Agent": "raysl"})
    checksum = hashlib.new(archive.algorithm, usedforsecurity=False)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response, archive.path.open("wb") as file:
        done = 0
        while chunk := response.read(CHUNK):
            file.write(chunk)
            checksum.update(chunk)
            done += len(chunk)
            if progress:
                progress(f"download {archive.path.name}", done, int(response.headers.get("Content-Length", 0)) or None)
    return checksum.hexdigest()


def _write_torchvision(
    name: str, path: Path, scratch: Path, source: str, licence: str, progress: Progress | None
) -> None:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, TORCHVISION[name])
    for archive in _archives(kind, scratch):
        fetch(archive, progress)
    splits = SPLIT_NAMES.get(kind.__name__, ("train", "test"))
    # Opened one after the other: STL-10's unlabelled images take 2.8 GB.
    opened = (_open_split(kind, scratch, split) for split in splits)
    first = next(opened)
    rows = chain.from_iterable(_rows(data, split) for data, split in zip(chain([first], opened), SPLITS, strict=False))
    write(path, reported(rows, f"encode {name}", None, progress), _class_names(first), source, licence)


def _archives(kind: Any, folder: Path) -> Iterator[Archive]:
    if hasattr(kind, "mirrors"):
        for filename, md5 in kind.resources:
            urls = tuple(mirror + filename for mirror in kind.mirrors)
            yield Archive(urls, folder / kind.__name__ / "raw" / filename, "md5", md5)
    elif hasattr(kind, "split_list"):
        for split in SPLIT_NAMES[kind.__name__]:
            url, filename, md5 = kind.split_list[split]
            yield Archive((url,), folder / filename, "md5", md5)
    else:
        yield Archive((kind.url,), folder / kind.filename, "md5", kind.tgz_md5)


def _open_split(kind: Any, folder: Path, split: str) -> Any:
    # `download=True` finds the archives that are there, and unpacks them.
    if kind.__name__ in SPLIT_NAMES:
        return kind(folder, split=split, download=True)
    return kind(folder, train=split == "train", download=True)


def _rows(data: Any, split: str) -> Iterator[Row]:
    """Yield a torchvision data set's (PIL image, label) as PNG; indexed, for it need not know its end."""
    for number in range(len(data)):
        image, label = data[number]
        yield Row(encode(np.asarray(image)), int(label), split)


def _class_names(data: Any) -> Sequence[str]:
    # torchvision calls MNIST's classes `0 - zero`, and SVHN's nothing.
    names: Sequence[str] = getattr(data, "classes", [str(digit) for digit in range(10)])
    return [name.split(" - ")[0] for name in names]


def _write_malaria(path: Path, scratch: Path, source: str, licence: str, progress: Progress | None) -> None:
    archive = Archive((MALARIA_URL,), scratch / "cell_images.zip", "sha256", MALARIA_SHA256)
    fetch(archive, progress)
    source = f"{source}, {MALARIA_URL}, sha256 {archive.checksum}"
    with zipfile.ZipFile(archive.path) as cells:
        rows = reported(_cells(cells), "read malaria", 2 * MALARIA_CELLS, progress)
        write(path, rows, MALARIA_CLASSES, source, licence)


def _cells(archive: zipfile.ZipFile) -> Iterator[Row]:
    """Yield the cells, class by class in the order of their names; half of them train, as `train_fraction: 0.5` has it.

    Raises DataError where the archive does not hold what it is known to hold.
    """
    pictures = [PurePosixPath(name) for name in sorted(archive.namelist()) if name.endswith(".png")]
    cells = [
        (path, label) for label, kind in enumerate(MALARIA_CLASSES) for path in pictures if path.parent.name == kind
    ]
    labels = np.array([label for _, label in cells], np.int64)
    counts = np.bincount(labels, minlength=len(MALARIA_CLASSES)).tolist()
    if len(pictures) != len(cells) or counts != [MALARIA_CELLS] * len(MALARIA_CLASSES):
        raise DataError(
            f"{MALARIA_URL} holds {len(pictures)} PNG files, {counts} of them in {MALARIA_CLASSES}; "
            f"expected {MALARIA_CELLS} in each and no others"
        )
    trains = train_split(labels, len(MALARIA_CLASSES), len(labels) // 2)
    for (path, label), train in zip(cells, trains, strict=True):
        yield Row(archive.read(path.as_posix()), label, SPLITS[TRAIN if train else TEST])
