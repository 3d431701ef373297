"""Known sets from where their authors keep them, written in our Parquet form.

Of some sets torchvision knows the addresses and checksums and reads the files; we fetch them (`archives`). The others
are one file each, which a module of their own reads.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from raysl.data import malaria, medmnist, tiny_imagenet
from raysl.data.archives import Archive, fetch, find_given
from raysl.data.images import encode
from raysl.data.parquet import SPLITS, Row, write
from raysl.data.places import discard
from raysl.data.progress import Progress, reported
from raysl.errors import DataError

# What fetching, unpacking and reading raise.
BAD_CONTENT = (RuntimeError, ValueError, KeyError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
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


class Writer(Protocol):
    """Writes what an archive holds to the Parquet file `path`."""

    def __call__(
        self, archive: Path, path: Path, source: str, licence: str, progress: Progress | None = None
    ) -> None: ...


class Archived(NamedTuple):
    """A set that is published as one file, and what writes it in our form."""

    archive: Archive
    write: Writer


ARCHIVED = {
    "malaria": Archived(malaria.ARCHIVE, malaria.write_malaria),
    "tiny_imagenet": Archived(tiny_imagenet.ARCHIVE, tiny_imagenet.write_tiny_imagenet),
    **{name: Archived(medmnist.archive_of(name), partial(medmnist.write_medmnist, name)) for name in medmnist.SETS},
}


def download_set(name: str, path: Path, source: str, licence: str, progress: Progress | None = None) -> None:
    """Download a known set and write it to `path`, whose folder exists; nothing else is left there.

    A set that is published as one file is made from that file where it lies in a folder of sets already.
    Raises DataError naming the addresses, what went wrong and what to do instead.
    """
    archived = ARCHIVED.get(name)
    given = find_given(archived.archive) if archived else None
    scratch = path.with_name(f".{name}.download")
    discard(scratch)
    try:
        scratch.mkdir()
        if archived:
            archive = archived.archive
            origin = f"{source}, {archive.urls[0]}, {archive.algorithm} {archive.checksum}"
            archived.write(given or fetch(archive, scratch, progress), path, origin, licence, progress)
        else:
            _write_torchvision(name, path, scratch, source, licence, progress)
    except FAILURES as error:
        by_hand = f"{path.name} or {archived.archive.name}" if archived else path.name
        raise DataError(
            f"data.source: {name} could not be downloaded: {error}. Without a connection, put {by_hand} there by "
            f"hand: in {path.parent}, or in a folder that RAYSL_DATA names"
        ) from error
    finally:
        discard(scratch)


def _write_torchvision(
    name: str, path: Path, scratch: Path, source: str, licence: str, progress: Progress | None
) -> None:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, TORCHVISION[name])
    for archive in _archives(kind):
        fetch(archive, scratch, progress)
    splits = SPLIT_NAMES.get(kind.__name__, ("train", "test"))
    # Opened one after the other: STL-10's unlabelled images take 2.8 GB.
    opened = (_open_split(kind, scratch, split) for split in splits)
    first = next(opened)
    rows = chain.from_iterable(_rows(data, split) for data, split in zip(chain([first], opened), SPLITS, strict=False))
    write(path, reported(rows, f"encode {name}", None, progress), _class_names(first), source, licence)


def _archives(kind: Any) -> Iterator[Archive]:
    if hasattr(kind, "mirrors"):
        for filename, md5 in kind.resources:
            urls = tuple(mirror + filename for mirror in kind.mirrors)
            yield Archive(urls, f"{kind.__name__}/raw/{filename}", "md5", md5)
    elif hasattr(kind, "split_list"):
        for split in SPLIT_NAMES[kind.__name__]:
            url, filename, md5 = kind.split_list[split]
            yield Archive((url,), filename, "md5", md5)
    else:
        yield Archive((kind.url,), kind.filename, "md5", kind.tgz_md5)


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
