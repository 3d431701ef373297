"""Folders of image files, as sets: train/CLASS/*.png, test/CLASS/*.png and, where there is one, unlabelled/*.png."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from raysl.data.parquet import SPLITS, Row, write
from raysl.data.places import cache_home, exclusive
from raysl.data.progress import Progress, reported
from raysl.errors import DataError, choices

FOLDER_VERSION = 1  # raised when the same folder comes to give another file
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class _File(NamedTuple):
    path: Path
    class_name: str | None
    split: str


def convert_folder(folder: Path, progress: Progress | None = None) -> Path:
    """Return the Parquet file of a folder of images, made again when a name, size or time in it has changed.

    The classes are the folders under train/, in the order of their names. Image files are taken as they are.
    Raises DataError where train/ has fewer than two classes, or test/ a class that train/ has not.
    """
    files = list(_files(folder))
    class_names = sorted({file.class_name for file in files if file.split == "train" and file.class_name})
    if len(class_names) < 2:
        raise DataError(f"{folder}: train/ must hold a folder of images for each of at least 2 classes: {class_names}")
    for file in files:
        if file.class_name and file.class_name not in class_names:
            raise DataError(f"{file.path.parent}: no such class in train/; {choices(file.class_name, class_names)}")
    path = cache_home() / "folders" / f"{_key(folder, files)}.parquet"
    with exclusive(path):
        if not path.is_file():
            rows = reported(_rows(files, class_names), f"read {folder.name}", len(files), progress)
            write(path, rows, class_names, f"folder {folder}", "that of the images")
    return path


def _files(folder: Path) -> Iterator[_File]:
    for split in SPLITS:
        if split == "unlabelled":
            yield from (_File(path, None, split) for path in _images(folder / split))
        else:
            classes = sorted(path for path in (folder / split).glob("[!.]*") if path.is_dir())
            yield from (_File(path, place.name, split) for place in classes for path in _images(place))


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in SUFFIXES)


def _key(folder: Path, files: list[_File]) -> str:
    stats = ((file.path, file.path.stat()) for file in files)
    facts = [[path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return hashlib.blake2b(json.dumps([FOLDER_VERSION, facts]).encode(), digest_size=16).hexdigest()


def _rows(files: list[_File], class_names: list[str]) -> Iterator[Row]:
    numbers = {name: number for number, name in enumerate(class_names)}
    for file in files:
        label = -1 if file.class_name is None else numbers[file.class_name]
        yield Row(file.path.read_bytes(), label, file.split)
