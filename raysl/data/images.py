"""Encoded images: what their headers say, their pixels, and the way back.

Pixels are taken as they are stored: transparency is dropped, whatever colour lies under it, and an orientation that
EXIF data ask for is not applied.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from raysl.errors import DataError

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)  # what Pillow raises
GRAY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "F")  # more than 8 bits; Pillow would clip them to white
PNG_DEPTH = 24  # place of the byte that holds a PNG's bits per channel
TIFF_DEPTH = 258  # tag of a TIFF's bits per channel


class ImageError(DataError):
    """What is wrong with the image of a row; whoever knows where the rows are from names the place."""

    def __init__(self, row: int, wrong: str) -> None:
        super().__init__(f"the image in row {row} {wrong}")
        self.row = row
        self.wrong = wrong

    def __reduce__(self) -> tuple[type["ImageError"], tuple[int, str]]:
        return ImageError, (self.row, self.wrong)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG of uint8 pixels [H, W] or [H, W, 3].

    Stored, not deflated: Parquet's zstd makes it as small, and the bytes do not depend on the zlib at hand.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def headers(images: Sequence[bytes], first_row: int) -> set[tuple[int, int, int]]:
    """Return the (width, height, channels) that occur, channels being 1 or 3; pixels are not decoded.

    Raises ImageError for an image that is none, or has more than 8 bits per channel.
    """
    found = set()
    for row, image in enumerate(images, start=first_row):
        try:
            opened = Image.open(io.BytesIO(image))
        except UNREADABLE as error:
            raise _unreadable(row, error) from error
        if opened.mode.split(";")[0] in DEEP_MODES or _depth(opened, image) > 8:
            raise ImageError(row, f"has more than 8 bits per channel ({opened.format}, mode {opened.mode})")
        found.add((*opened.size, 1 if opened.mode in GRAY_MODES else 3))
    return found


def decode(images: Sequence[bytes], size: int, channels: int, first_row: int) -> NDArray[np.uint8]:
    """Return the pixels of images as uint8 [N, size, size, channels], resized (bilinear, antialiased) where due.

    Raises ImageError for an image that cannot be decoded.
    """
    pixels = np.empty((len(images), size, size, channels), np.uint8)
    mode = "L" if channels == 1 else "RGB"
    for number, image in enumerate(images):
        try:
            picture: Image.Image = Image.open(io.BytesIO(image))
            if picture.mode not in ("L", mode):
                picture = picture.convert(mode)
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            if picture.mode != mode:  # gray is made RGB after the resizing: the same values for a third of the work
                picture = picture.convert(mode)
            pixels[number] = np.asarray(picture).reshape(size, size, channels)
        except UNREADABLE as error:
            raise _unreadable(first_row + number, error) from error
    return pixels


def _depth(opened: Image.Image, image: bytes) -> int:
    # Pillow cuts colours of 16 bits to 8 and calls the mode RGB all the same.
    if opened.format == "PNG":
        return image[PNG_DEPTH]
    if isinstance(opened, TiffImageFile):
        return max(int(bits) for bits in opened.tag_v2.get(TIFF_DEPTH, (8,)))
    return 8


def _unreadable(row: int, error: BaseException) -> ImageError:
    # Pillow's message for bytes that are no image names the address of a buffer.
    reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
    return ImageError(row, f"cannot be decoded ({reason})")
