"""Folders of image files with masks, as sets: train/images/*, train/masks/*.png, and the same of test/.

An image and its mask have the same name, but for the suffix. Images of unlabelled/, which is optional, have no masks.
The names of the classes are the lines of `classes.txt`, beside train/: a mask's value n is the class of line n + 1.
Without that file the classes are the numbers from 0 to the masks' largest value; 255 is ignored in both cases.
Files are read, ignored or refused as those of `folders`.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from raysl.data.progress import Progress, reported
from raysl.data.registry.file_kinds import entries, named, shown
from raysl.data.registry.folders import errors_named, images_in, kept, key_of, split_folders, without_images
from raysl.data.storage.formats import bounded
from raysl.data.storage.images import ImageError
from raysl.data.storage.masks import mask_pixels, mask_values
from raysl.data.storage.parquet import SPLITS, Row, write
from raysl.errors import DataError
from raysl.results.confusion import IGNORED

VERSION = "masks 1"  # another one when the same folder gives another file
IMAGES, MASKS = "images", "masks"
CLASSES = "classes.txt"


class _Pair(NamedTuple):
    image: Path
    mask: Path | None
    split: str


def has_masks(folder: Path) -> bool:
    """Return whether a folder is of this form: its train/ holds images/ and masks/.

    Raises DataError if the folder cannot be read, or has splits that are none.
    """
    with errors_named():
        train = split_folders(folder)["train"]
        return {IMAGES, MASKS} <= {path.name.casefold() for path in entries(train) if path.is_dir()}


def convert_masked(folder: Path, progress: Progress | None = None) -> Path:
    """Return the Parquet file of a folder of this form; it is rebuilt after a file in the folder has changed.

    Raises DataError, with the file, for an image without a mask, a mask without an image, class names that are none,
    and for whatever `folders.convert_folder` refuses.
    """
    names_file = folder / CLASSES
    with errors_named():
        pairs = list(_pairs(folder))
        class_names = _class_names(names_file) if names_file.is_file() else None
        files = [path for pair in pairs for path in (pair.image, pair.mask) if path]
        key = key_of(folder, VERSION, files if class_names is None else [names_file, *files])

    def make(path: Path) -> None:
        names = _numbered(folder, pairs) if class_names is None else class_names
        rows = reported(_rows(pairs), f"read {folder.name}", len(pairs), progress)
        source = f"folder {shown(folder)}"
        write(path, rows, names, source, "that of the images", with_files=True, with_masks=True)

    return kept(key, make)


def _pairs(folder: Path) -> Iterator[_Pair]:
    places = split_folders(folder)
    for split in SPLITS:
        if split not in places:
            continue
        if split == "unlabelled":
            yield from (_Pair(path, None, split) for path in images_in(places[split]))
        else:
            yield from _paired(places[split], split)


def _paired(place: Path, split: str) -> Iterator[_Pair]:
    """Yield the images of a split with their masks, in the order of the images' names."""
    folders = {path.name.casefold(): path for path in without_images(place, f"images must lie in {IMAGES}/")}
    if set(folders) != {IMAGES, MASKS}:
        raise DataError(f"{place}: must hold {IMAGES}/ and {MASKS}/; found {named(list(folders.values()))}")
    images = _by_stem(folders[IMAGES])
    masks = _by_stem(folders[MASKS])
    for stem, image in images.items():
        if stem not in masks:
            raise DataError(f"{shown(image)}: the image has no mask; expected {folders[MASKS] / image.stem}.png")
    for stem, mask in masks.items():
        if stem not in images:
            raise DataError(f"{shown(mask)}: a mask without an image; {folders[IMAGES]} has no {mask.stem}.*")
    yield from (_Pair(image, masks[stem], split) for stem, image in images.items())


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images_in(folder):
        stem = unicodedata.normalize("NFC", shown(Path(path.stem)))
        if stem in found:
            raise DataError(f"{shown(path)}: {found[stem].name} has the same name, but for the suffix; keep one")
        found[stem] = path
    return found


def _class_names(file: Path) -> list[str]:
    """Return the lines of a file of class names; empty lines at its end are none."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: the names of classes must be UTF-8") from error
    names = [line.strip() for line in text.rstrip().split("\n")]
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{file}: line {number} is empty; each line names a class, in the order of masks' values")
        if name in names[: number - 1]:
            raise DataError(f"{file}: line {number}: class {name!r} is there twice")
    mask_values(file, names, {})
    return names


def _numbered(folder: Path, pairs: Sequence[_Pair]) -> list[str]:
    """Return the numbers up to the largest value of a folder's masks as text."""
    largest = 0
    for image, mask, _ in pairs:
        if mask is not None:
            try:
                with bounded():
                    pixels = mask_pixels(_content(mask), 0)
            except ImageError as error:
                raise DataError(f"{shown(image)}: the image {error.wrong}") from error
            largest = max(largest, int(pixels[pixels != IGNORED].max(initial=0)))
    if largest == 0:
        raise DataError(
            f"{folder}: the masks hold no class but 0; a pixel's value is the number of its class: 0, 1 and so on, and "
            f"{IGNORED} is ignored"
        )
    return [str(number) for number in range(largest + 1)]


def _rows(pairs: Sequence[_Pair]) -> Iterator[Row]:
    for image, mask, split in pairs:
        yield Row(_content(image), -1, split, shown(image), None if mask is None else _content(mask))


def _content(path: Path) -> bytes:
    with errors_named():
        return path.read_bytes()
