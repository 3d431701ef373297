"""Encoded images: what their headers say, their pixels, and the way back."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from raysl.errors import DataError

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)  # what Pillow raises
GRAY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "F")  # more than 8 bits; Pillow would clip them to white


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG of uint8 pixels [H, W] or [H, W, 3].

    Stored, not deflated: Parquet's zstd makes it as small, and the bytes do not depend on the zlib at hand.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def headers(images: Sequence[bytes], first_row: int) -> set[tuple[int, int, int]]:
    """Return the (width, height, channels) that occur, channels being 1 or 3; pixels are not decoded.

    Raises DataError naming the row of an image that is none, or has more than 8 bits per channel.
    """
    found = set()
    for row, image in enumerate(images, start=first_row):
        try:
            opened = Image.open(io.BytesIO(image))
        except UNREADABLE as error:
            raise _unreadable(row, error) from error
        if opened.mode.split(";")[0] in DEEP_MODES:
            raise DataError(f"the image in row {row} has more than 8 bits per channel (mode {opened.mode})")
        found.add((*opened.size, 1 if opened.mode in GRAY_MODES else 3))
    return found


def decode(images: Sequence[bytes], size: int, channels: int, first_row: int) -> NDArray[np.uint8]:
    """Return the pixels of images as uint8 [N, size, size, channels], resized (bilinear, antialiased) where due.

    Raises DataError naming the row of an image that cannot be decoded.
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


def _unreadable(row: int, error: BaseException) -> DataError:
    # Pillow's message for bytes that are no image names the address of a buffer.
    reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
    return DataError(f"the image in row {row} cannot be decoded ({reason})")
