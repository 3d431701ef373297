"""Known sets, downloaded from their authors and written in raysl's Parquet form.

For some sets torchvision has the addresses and checksums, and reads the files that `archives` fetches. Each other set
is one archive, which a module of its own reads.
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

from raysl.data.progress import Progress, reported
from raysl.data.registry import idx, malaria, medmnist, tiny_imagenet
from raysl.data.registry.archives import Archive, fetch, find_given, lying
from raysl.data.registry.cifar import BINARIES, write_cifar
from raysl.data.registry.idx import UNCOMPRESSED, uncompress, uncompressed
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import SPLITS, Row, write
from raysl.data.storage.paths import discard
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
    "svhn_extra": "SVHN",
    "stl10": "STL10",
}
# The files of these sets, by name. torchvision has them too, with their addresses, but takes a second to import.
FILES = {
    "mnist": tuple(f"MNIST/raw/{file}.gz" for file in idx.FILES),
    "fashion_mnist": tuple(f"FashionMNIST/raw/{file}.gz" for file in idx.FILES),
    "cifar10": ("cifar-10-python.tar.gz",),
    "cifar100": ("cifar-100-python.tar.gz",),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
    "svhn_extra": ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"),
    "stl10": ("stl10_binary.tar.gz",),
}
# torchvision's names of the splits that make each of `SPLITS`.
SPLIT_NAMES = {
    "svhn": (("train",), ("test",)),
    "svhn_extra": (("train",), ("test",), ("train", "extra")),
    "stl10": (("train",), ("test",), ("unlabeled",)),
}


class Writer(Protocol):
    """Writes what an archive holds to the Parquet file `path`."""

    def __call__(
        self, archive: Path, path: Path, source: str, licence: str, progress: Progress | None = None
    ) -> None: ...


class Archived(NamedTuple):
    """A set that is published as one file, and the function that converts it."""

    archive: Archive
    write: Writer


ARCHIVED = {
    "malaria": Archived(malaria.ARCHIVE, malaria.write_malaria),
    "tiny_imagenet": Archived(tiny_imagenet.ARCHIVE, tiny_imagenet.write_tiny_imagenet),
    **{name: Archived(medmnist.archive_of(name), partial(medmnist.write_medmnist, name)) for name in medmnist.SETS},
}


def origin_of(name: str) -> str:
    """Return, as text, what a search does to get a missing set, for example `downloads FILE`.

    Nothing is read or downloaded; published files that lie here are recognised by name alone.
    """
    ways = (FILES[name], (BINARIES[name].archive.name,)) if name in BINARIES else (_names(name),)
    for names in ways:
        if all(found := [_lying(name, file) for file in names]):
            return f"makes it of {', '.join(str(paths[0]) for paths in found)}"
    return f"downloads {_listed(name)}"


def _lying(name: str, file: str) -> list[Path]:
    return [*lying(file), *(lying(file.removesuffix(".gz")) if name in UNCOMPRESSED else ())]


def _listed(name: str) -> str:
    return ", ".join(Path(file).name for file in _names(name))


def _names(name: str) -> tuple[str, ...]:
    return (ARCHIVED[name].archive.name,) if name in ARCHIVED else FILES[name]


def download_set(name: str, path: Path, source: str, licence: str, progress: Progress | None = None) -> None:
    """Download a known set and write it to `path`, whose folder exists; nothing else is left there.

    Published files that already lie in a folder of sets are used instead of a download.
    Raises DataError with the addresses or files, the cause and the remedy.
    """
    archived = ARCHIVED.get(name) or _given_binary(name)
    archives = [archived.archive] if archived else _archives(name)
    given = {archive: found for archive in archives if (found := _find_given(name, archive))}
    scratch = path.with_name(f".{name}.download")
    discard(scratch)
    try:
        scratch.mkdir()
        if archived:
            archive = archived.archive
            origin = f"{source}, {archive.urls[0]}, {archive.algorithm} {archive.checksum}"
            archived.write(given.get(archive) or fetch(archive, scratch, progress), path, origin, licence, progress)
        else:
            for archive in archives:
                _place(given.get(archive) or fetch(archive, scratch, progress), archive, scratch)
            _write_torchvision(name, path, scratch, source, licence, progress)
    except FAILURES as error:
        if len(given) == len(archives):
            raise DataError(f"{', '.join(map(str, given.values()))}: cannot be converted to {name}: {error}") from error
        raise DataError(
            f"data.source: {name} could not be downloaded: {error}. Without a connection, put {path.name} or "
            f"{_listed(name)} there by hand: in {path.parent}, or in a folder that RAYSL_DATA names"
        ) from error
    finally:
        discard(scratch)


def _given_binary(name: str) -> Archived | None:
    """Return CIFAR's binary archive if it is given and the one that torchvision reads is not."""
    if name not in BINARIES or lying(FILES[name][0]) or not find_given(BINARIES[name].archive):
        return None
    return Archived(BINARIES[name].archive, partial(write_cifar, name))


def _find_given(name: str, archive: Archive) -> Path | None:
    """Return the path of a given file of a set, compressed or not; None if it is not given."""
    file = uncompressed(name, archive)
    if file is None:
        return find_given(archive)
    others = {other.checksum for set_ in UNCOMPRESSED if set_ != name for other in _idx_files(set_)}
    return find_given(archive, others) or find_given(file, others)


def _idx_files(name: str) -> Iterator[Archive]:
    for archive in _archives(name):
        yield archive
        if file := uncompressed(name, archive):
            yield file


def _place(found: Path, archive: Archive, scratch: Path) -> None:
    """Put a file where torchvision looks for it: link to a given one, and uncompress MNIST's gzip files."""
    path = scratch / archive.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if found.suffix != path.suffix:
        path.with_suffix("").symlink_to(found)
        return
    if found != path:
        path.symlink_to(found)
    if path.name.endswith("ubyte.gz"):
        uncompress(path)


def _write_torchvision(
    name: str, path: Path, scratch: Path, source: str, licence: str, progress: Progress | None
) -> None:
    parts = zip(SPLITS, SPLIT_NAMES.get(name, (("train",), ("test",))), strict=False)
    # Opened one after the other: STL-10's unlabelled images take 2.8 GB.
    opened = ((split, _open_split(name, scratch, part)) for split, names in parts for part in names)
    first = next(opened)
    rows = chain.from_iterable(_rows(data, split) for split, data in chain([first], opened))
    write(path, reported(rows, f"encode {name}", None, progress), _class_names(first[1]), source, licence)


def _kind(name: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, TORCHVISION[name])


def _archives(name: str) -> list[Archive]:
    kind = _kind(name)
    if hasattr(kind, "mirrors"):
        folder = f"{kind.__name__}/raw/"
        return [
            Archive(tuple(mirror + filename for mirror in kind.mirrors), folder + filename, "md5", md5)
            for filename, md5 in kind.resources
        ]
    if hasattr(kind, "split_list"):
        facts = (kind.split_list[split] for split in dict.fromkeys(chain.from_iterable(SPLIT_NAMES[name])))
        return [Archive((url,), filename, "md5", md5) for url, filename, md5 in facts]
    return [Archive((kind.url,), kind.filename, "md5", kind.tgz_md5)]


def _open_split(name: str, folder: Path, split: str) -> Any:
    kind = _kind(name)
    # `download=True` finds the archives that are there, and unpacks them.
    if name in SPLIT_NAMES:
        return kind(folder, split=split, download=True)
    return kind(folder, train=split == "train", download=True)


def _rows(data: Any, split: str) -> Iterator[Row]:
    """Yield the images of a torchvision data set as PNG; by index, because iterating over it may not end."""
    for number in range(len(data)):
        image, label = data[number]
        yield Row(encode(np.asarray(image)), -1 if split == "unlabelled" else int(label), split)


def _class_names(data: Any) -> Sequence[str]:
    # torchvision calls MNIST's classes `0 - zero`, and has no names for SVHN's.
    names: Sequence[str] = getattr(data, "classes", [str(digit) for digit in range(10)])
    return [name.split(" - ")[0] for name in names]
