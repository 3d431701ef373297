"""Folders of image files, as sets: train/CLASS/*.png, test/CLASS/*.png and, optionally, unlabelled/*.png.

Those with masks have train/images/ and train/masks/ in place of classes (`folders_masks`).
Every file is read as an image, ignored because it is known to be none (`file_kinds`), or refused: no image is skipped
silently. Splits may be spelled in capitals, and `unlabelled` as `unlabeled`. Hidden files and folders are ignored.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from raysl.data.progress import Progress, reported
from raysl.data.registry.file_kinds import entries, is_image, named, shown
from raysl.data.registry.split_names import NO_VALIDATION, is_validation, split_of
from raysl.data.storage.parquet import SPLITS, Row, write
from raysl.data.storage.paths import cache_home, exclusive
from raysl.errors import DataError, choices

FOLDER_VERSION = 3  # increase when the same folder gives another file
LAYOUT = (
    "images lie in train/CLASS/, test/CLASS/ and, without a class, in unlabelled/; those with masks in train/images/, "
    "their masks in train/masks/"
)


class _File(NamedTuple):
    path: Path
    class_name: str | None
    split: str


def convert_folder(folder: Path, progress: Progress | None = None) -> Path:
    """Return the Parquet file of a folder of images; it is rebuilt after a file in the folder has changed.

    The classes are the folders under train/, in the order of their names. Image files are stored as they are.
    Raises DataError if train/ has fewer than two classes, test/ has a class that train/ lacks, a class has no image, an
    image lies elsewhere or cannot be read, or a file may be an image of a format that is not read.
    """
    with errors_named():
        files = list(_files(folder))
        key = key_of(folder, FOLDER_VERSION, [file.path for file in files])
    class_names = sorted({file.class_name for file in files if file.split == "train" and file.class_name})
    if len(class_names) < 2:
        raise DataError(f"{folder}: train/ must hold a folder of images for each of at least 2 classes: {class_names}")
    for file in files:
        if file.class_name and file.class_name not in class_names:
            raise DataError(f"{file.path.parent}: no such class in train/; {choices(file.class_name, class_names)}")

    def make(path: Path) -> None:
        rows = reported(_rows(files, class_names), f"read {folder.name}", len(files), progress)
        write(path, rows, class_names, f"folder {shown(folder)}", "that of the images", with_files=True)

    return kept(key, make)


def kept(key: str, make: Callable[[Path], None]) -> Path:
    """Return the Parquet file of a folder of this key; `make` writes it if it is not there yet."""
    path = cache_home() / "folders" / f"{key}.parquet"
    if not path.is_file():  # checked before the lock, which a read-only cache cannot hold
        with exclusive(path):
            if not path.is_file():  # no other process has made it meanwhile
                make(path)
    return path


@contextmanager
def errors_named() -> Iterator[None]:
    """Raise DataError, with the file's name, for a file that cannot be read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _files(folder: Path) -> Iterator[_File]:
    places = split_folders(folder)
    for split in SPLITS:
        if split not in places:
            continue
        if split == "unlabelled":
            yield from (_File(path, None, split) for path in images_in(places[split]))
        else:
            kinds = _class_folders(places[split])
            yield from (_File(path, name, split) for name, kind in kinds.items() for path in images_in(kind))


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each split; refuse other folders, and images outside those of splits."""
    found: dict[str, Path] = {}
    others = []
    for path in without_images(folder, LAYOUT):
        split = split_of(path.name)
        if split is None:
            others.append(path)
        elif twin := next((place for place in found.values() if place.samefile(path)), found.get(split)):
            raise DataError(f"{folder}: {twin.name}/ and {path.name}/ are the same split; keep one of them")
        else:
            found[split] = path
    for path in others:
        if is_validation(path.name):
            raise DataError(f"{path}: {NO_VALIDATION}")
        if "train" in found:
            raise DataError(f"{path}: no split; {choices(path.name, SPLITS)}; rename it or move it away")
    if "train" not in found:
        raise DataError(
            f"{folder}: holds no train/, but {named([*found.values(), *others])}; {LAYOUT}; at least 2 classes; where "
            "all images lie in train/, data.train_fraction sets test images aside"
        )
    return found


def _class_folders(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in without_images(folder, "images must lie in a folder of their class, one level down"):
        try:
            name = unicodedata.normalize("NFC", os.fsencode(path.name).decode())
        except UnicodeDecodeError as error:
            raise DataError(f"{shown(path)}: the name of a class must be UTF-8; rename it") from error
        if name in found:
            raise DataError(f"{folder}: two folders are called {name!r}, with accents written otherwise; keep one")
        found[name] = path
    return found


def without_images(folder: Path, wanted: str) -> list[Path]:
    """Return the subfolders of a folder; refuse images that lie directly in it."""
    found = entries(folder)
    stray = [path for path in found if path.is_file() and is_image(path)]
    if stray:
        raise DataError(f"{folder}: holds {named(stray)}; {wanted}")
    return [path for path in found if path.is_dir()]


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder; refuse one without any, or with a folder in it."""
    found = entries(folder)
    nested = [path for path in found if path.is_dir()]
    images = [] if nested else [path for path in found if is_image(path)]
    if not images:
        raise DataError(f"{folder}: must hold images and no folders; found {named(nested or found)}")
    return images


def key_of(folder: Path, version: int | str, paths: Sequence[Path]) -> str:
    """Return the key of a folder's files, which is another when one of them has changed."""
    facts: list[object] = [version, str(folder.absolute())]
    for path in paths:
        stat = path.stat()
        name = path.relative_to(folder).as_posix()
        # Copies and archives preserve sizes and times, but not the inode and the time of its change.
        facts.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns])
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _rows(files: list[_File], class_names: list[str]) -> Iterator[Row]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for path, class_name, split in files:
        with errors_named():
            image = path.read_bytes()
        yield Row(image, -1 if class_name is None else numbers[class_name], split, shown(path))
