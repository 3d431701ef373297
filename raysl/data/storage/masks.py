"""Masks: the class of each pixel of an image, as a PNG of one 8-bit channel.

A pixel's value is a class, an index into `class_names`, or a value that is ignored in losses and measures: 255, the
`ignore_index` of the schema's metadata, or a class of one of the names in `VOID`. Of a PNG with a palette, the indices
count, not the colours. Ignored classes are no classes: `MaskValues` numbers the others without a gap.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raysl.data.storage.formats import DEPTH_IN_PNG, PNG_SIGNATURE, UnfitError, bounded, open_png
from raysl.data.storage.images import Header, ImageError, fitted, header_of, is_turned, named_row
from raysl.errors import DataError
from raysl.results.confusion import IGNORED

UNKNOWN = -1
VOID = ("unlabelled", "unlabeled", "void", "ignore", "ignored")  # names of classes that are none
MODES = ("L", "P", "1")  # of a PNG that has one 8-bit number, or one bit, for each pixel
DEPTH_PLACE = len(PNG_SIGNATURE) + DEPTH_IN_PNG  # of the byte with the bits per channel

Masks = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MaskValues:
    """The class of each value that masks may have.

    classes: int16 [256], an index into class_names, IGNORED, or UNKNOWN for a value that is neither.
    """

    class_names: tuple[str, ...]
    classes: NDArray[np.int16]


def mask_values(path: Path, class_names: Sequence[str], metadata: Mapping[bytes, bytes]) -> MaskValues:
    """Return the class of each value of a set's masks.

    class_names: as the file has them, ignored ones included.
    Raises DataError if fewer than 2 classes are left, there are more than 255, or `ignore_index` is no such index.
    """
    if len(class_names) > IGNORED:
        raise DataError(f"{path}: {len(class_names)} class_names; a mask of 8 bits has room for {IGNORED}")
    ignored = {number for number, name in enumerate(class_names) if name.strip().lower() in VOID}
    if (given := metadata.get(b"ignore_index")) is not None:
        ignored.add(_index(path, given))
    kept = [number for number in range(len(class_names)) if number not in ignored]
    if len(kept) < 2:
        raise DataError(f"{path}: masks need at least 2 classes that are not ignored; class_names: {list(class_names)}")
    classes = np.full(256, UNKNOWN, np.int16)
    classes[[*ignored, IGNORED]] = IGNORED
    classes[kept] = np.arange(len(kept))
    return MaskValues(tuple(class_names[number] for number in kept), classes)


def _index(path: Path, given: bytes) -> int:
    try:
        index = json.loads(given)
    except ValueError:
        index = None
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= IGNORED:
        raise DataError(f"{path}: ignore_index in the schema metadata is {given!r}; choices: 0 to {IGNORED}")
    return index


def masked_headers(
    images: Sequence[bytes], masks: Sequence[bytes | None], values: MaskValues, first: int
) -> set[Header]:
    """Return the distinct headers of images, whose masks are decoded and checked; None is no mask.

    first: the row of the first image, for errors.
    Raises ImageError for an image that is none, and for a mask that is none, has another size or an unknown value.
    """
    found = set()
    with bounded():
        for row, (image, mask) in enumerate(zip(images, masks, strict=True), start=first):
            with named_row(row):
                header = header_of(image)
                if mask is not None and header.altered and is_turned(image):
                    raise UnfitError("is turned by its metadata, and its mask is not; save both upright")
            if mask is not None:
                _checked(mask, header, values, row)
            found.add(header)
    return found


def _checked(mask: bytes, header: Header, values: MaskValues, row: int) -> None:
    pixels = mask_pixels(mask, row)
    height, width = pixels.shape
    if (width, height) != (header.width, header.height):
        raise ImageError(row, f"has {header.width} x {header.height} pixels, and its mask {width} x {height}")
    _classes(pixels, values, row)


def decode_masks(masks: Sequence[bytes], size: int, values: MaskValues, first_row: int) -> Masks:
    """Return the classes of masks, uint8 [N, size, size], scaled by their nearest pixels as `fitted` scales images.

    Raises ImageError for a mask that cannot be decoded or has an unknown value.
    """
    decoded = np.full((len(masks), size, size), IGNORED, np.uint8)
    with bounded():
        for number, mask in enumerate(masks):
            classes = _classes(mask_pixels(mask, first_row + number), values, first_row + number)
            rows, columns = classes.shape
            height, width = fitted(rows, columns, size)
            decoded[number, :height, :width] = classes[_nearest(rows, height)[:, None], _nearest(columns, width)]
    return decoded


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return the pixel of a line that lies under the centre of each pixel of the scaled line: int64 [new]."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def mask_pixels(mask: bytes, row: int) -> Masks:
    """Return the values of a mask's pixels, before they are classes: uint8 [H, W]. Called within `bounded`.

    row: that of the mask's image, for errors.
    Raises ImageError for a mask that cannot be decoded, or has several channels or other than 8 bits, a palette or 1.
    """
    with named_row(row, "has a mask that"):
        picture = open_png(mask)
        kind, depth = picture.mode, mask[DEPTH_PLACE]
        if kind == "L" and depth < 8:  # Pillow would scale the numbers: 1 of 4 bits becomes 17
            kind = f"L with {depth} bits a pixel"
        if kind in MODES:
            return np.asarray(picture.convert("L") if kind == "1" else picture, np.uint8) // (255 if kind == "1" else 1)
    raise ImageError(
        row, f"has a mask of mode {kind}; a mask is a PNG of one 8-bit channel (L, or P with a palette): class numbers"
    )


def _classes(pixels: NDArray[np.uint8], values: MaskValues, row: int) -> NDArray[np.uint8]:
    """Return the classes of a mask's pixels: uint8 [H, W]."""
    classes = values.classes[pixels]
    if (classes == UNKNOWN).any():
        number = int(pixels[classes == UNKNOWN][0])
        known = np.flatnonzero(values.classes != UNKNOWN).tolist()
        raise ImageError(row, f"has a mask with the value {number}, which is no class; choices: {_ranges(known)}")
    return classes.astype(np.uint8)


def _ranges(numbers: Sequence[int]) -> str:
    """Return whole numbers in ascending order as text, such as `0 to 11, 255`."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and ends[-1][-1] == number - 1:
            ends[-1] = [ends[-1][0], number]
        else:
            ends.append([number])
    return ", ".join(" to ".join(map(str, pair)) for pair in ends)
