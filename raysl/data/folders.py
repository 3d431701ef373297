"""Folders of image files, as sets: train/CLASS/*.png, test/CLASS/*.png and, where there is one, unlabelled/*.png.

Hidden files and folders are passed over. An image that would be left out because of where it lies is refused, not lost.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from raysl.data.parquet import SPLITS, Row, write
from raysl.data.places import cache_home, exclusive
from raysl.data.progress import Progress, reported
from raysl.errors import DataError, choices

FOLDER_VERSION = 2  # raised when the same folder comes to give another file
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
SHOWN = 3  # names of what a folder holds, in a message


class _File(NamedTuple):
    path: Path
    class_name: str | None
    split: str


def convert_folder(folder: Path, progress: Progress | None = None) -> Path:
    """Return the Parquet file of a folder of images, made again when a file in it has been touched.

    The classes are the folders under train/, in the order of their names. Image files are taken as they are.
    Raises DataError where train/ has fewer than two classes, test/ a class that train/ has not, a class no image, or
    images lie elsewhere or cannot be read.
    """
    with _errors_named():
        files = list(_files(folder))
        key = _key(folder, files)
    class_names = sorted({file.class_name for file in files if file.split == "train" and file.class_name})
    if len(class_names) < 2:
        raise DataError(f"{folder}: train/ must hold a folder of images for each of at least 2 classes: {class_names}")
    for file in files:
        if file.class_name and file.class_name not in class_names:
            raise DataError(f"{file.path.parent}: no such class in train/; {choices(file.class_name, class_names)}")
    path = cache_home() / "folders" / f"{key}.parquet"
    if not path.is_file():  # before the lock, which a cache that can only be read has no room for
        with exclusive(path):
            if not path.is_file():  # no other process has made it meanwhile
                rows = reported(_rows(files, class_names), f"read {folder.name}", len(files), progress)
                write(path, rows, class_names, f"folder {folder}", "that of the images", with_files=True)
    return path


@contextmanager
def _errors_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _files(folder: Path) -> Iterator[_File]:
    for split in SPLITS:
        place = folder / split
        if not os.path.lexists(place):
            continue
        if split == "unlabelled":
            yield from (_File(path, None, split) for path in _images(place))
        else:
            yield from (_File(path, kind.name, split) for kind in _class_folders(place) for path in _images(kind))


def _class_folders(folder: Path) -> list[Path]:
    entries = _entries(folder)
    stray = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    if stray:
        raise DataError(f"{folder}: holds {_named(stray)}; images must lie in a folder of their class, one level down")
    return [path for path in entries if path.is_dir()]


def _images(folder: Path) -> list[Path]:
    entries = _entries(folder)
    nested = [path for path in entries if path.is_dir()]
    images = [path for path in entries if path.suffix.lower() in SUFFIXES]
    if nested or not images:
        raise DataError(
            f"{folder}: must hold images and no folders; found {_named(nested or entries)}; "
            f"suffixes of images: {', '.join(SUFFIXES)}"
        )
    return images


def _entries(folder: Path) -> list[Path]:
    # Not `glob`, which passes over folders that cannot be read.
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in entries:
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"{path}: neither a file nor a folder, or a link to what is not there")
    return entries


def _named(paths: Sequence[Path]) -> str:
    names = [path.name + "/" if path.is_dir() else path.name for path in paths[:SHOWN]]
    others = [f"and {len(paths) - SHOWN} more"] if len(paths) > SHOWN else []
    return ", ".join([*names, *others]) or "nothing"


def _key(folder: Path, files: list[_File]) -> str:
    facts: list[object] = [FOLDER_VERSION, str(folder.absolute())]
    for file in files:
        stat = file.path.stat()
        name = file.path.relative_to(folder).as_posix()
        # Copies and archives keep sizes and times; what the file system counts itself they cannot.
        facts.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns])
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _rows(files: list[_File], class_names: list[str]) -> Iterator[Row]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for path, class_name, split in files:
        with _errors_named():
            image = path.read_bytes()
        # Names that are no UTF-8 are shown as well as can be.
        name = os.fsencode(path).decode(errors="replace")
        yield Row(image, -1 if class_name is None else numbers[class_name], split, name)
