"""Encoded images: reading their headers, decoding their pixels, and encoding pixels.

Images are decoded as a viewer shows them on a white background: turned as their EXIF or XMP data say, with transparent
pixels on white. Colour profiles are not applied. Of an icon, the largest picture is decoded; of a photograph with
previews, gain maps or a second view (MPO), and of an image with layers (PSD), the main picture.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from raysl.data.storage.formats import COMMON, GRAY_MODES, MOST_PIXELS, UnfitError, bounded, open_image
from raysl.errors import DataError

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_THEIR_SIDE = (5, 6, 7, 8)  # orientations that swap width and height
# A PNG without these has no orientation; with them Pillow may have to decode it to know.
PNG_ORIENTED = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
STRIP = 256  # rows that are flattened at once: less memory than the whole
LONGEST = 200  # characters of a decoder's reason in a message


class ImageError(DataError):
    """A fault of the image of a row; the caller, which knows the file, adds the place."""

    def __init__(self, row: int, wrong: str) -> None:
        super().__init__(f"the image in row {row} {wrong}")
        self.row = row
        self.wrong = wrong

    def __reduce__(self) -> tuple[type["ImageError"], tuple[int, str]]:
        return ImageError, (self.row, self.wrong)


class Header(NamedTuple):
    """The size and the channels of an image as it is decoded.

    channels: 1 or 3.  altered: whether it is turned, or has transparent pixels, which are put on white.
    """

    width: int
    height: int
    channels: int
    altered: bool


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG of uint8 pixels [H, W] or [H, W, 3].

    Stored without compression: Parquet's zstd makes it as small, and the bytes do not depend on the version of zlib.
    """
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def headers(images: Sequence[bytes], first_row: int) -> set[Header]:
    """Return the distinct headers of images; pixels are not decoded.

    first_row: the row of the first image, for errors.
    Raises ImageError for bytes that are no image, and for an image that `formats.open_image` refuses.
    """
    found = set()
    with bounded():
        for row, image in enumerate(images, start=first_row):
            with named_row(row):
                found.add(header_of(image))
    return found


def decode(
    images: Sequence[bytes], size: int, channels: int, first_row: int, *, whole: bool = False
) -> NDArray[np.uint8]:
    """Return the pixels of images as uint8 [N, size, size, channels], resized (bilinear, antialiased) if necessary.

    whole: keep the ratio of their edges; images then lie at the top left, beside their mean colour.
    One image is decoded at a time, in at most about 500 MB.
    Raises ImageError for an image that cannot be decoded.
    """
    pixels = np.empty((len(images), size, size, channels), np.uint8)
    with bounded():
        for number, image in enumerate(images):
            with named_row(first_row + number):
                _decode_into(pixels[number], image, "L" if channels == 1 else "RGB", whole)
    return pixels


@contextmanager
def named_row(row: int, what: str = "") -> Iterator[None]:
    """Raise ImageError, with the row, for whatever decoders raise.

    what: the words before the fault, where it is not the image's own.
    """
    said = f"{what} " if what else ""
    try:
        yield
    except UnfitError as error:
        raise ImageError(row, f"{said}{error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            row, f"{said}has more than {MOST_PIXELS} pixels, the most that are decoded; make it smaller"
        ) from error
    except UnidentifiedImageError as error:  # its message holds a memory address
        known = "masks are PNGs" if what else f"formats: {COMMON}"
        raise ImageError(row, f"{said}cannot be decoded (not an image); {known}") from error
    except Exception as error:  # decoders may raise anything for damaged bytes
        raise ImageError(row, f"{said}cannot be decoded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, (OSError, SyntaxError, ValueError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def header_of(image: bytes) -> Header:
    """Return an image's header; raises whatever decoders raise."""
    opened = open_image(image)
    orientation = _orientation(opened, image)
    width, height = opened.size[::-1] if orientation in ON_THEIR_SIDE else opened.size
    channels = 1 if opened.mode in GRAY_MODES else 3
    return Header(width, height, channels, orientation in TURNS or _has_transparency(opened))


def is_turned(image: bytes) -> bool:
    """Return whether an image is turned when it is decoded; raises whatever decoders raise."""
    return _orientation(open_image(image), image) in TURNS


def fitted(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the height and width of an image that is scaled to just fit into a square of this size."""
    longest = max(height, width)
    return max(1, round(height * size / longest)), max(1, round(width * size / longest))


def _decode_into(pixels: NDArray[np.uint8], image: bytes, mode: str, whole: bool) -> None:
    """Write an image's pixels into uint8 [size, size, channels]."""
    size, _, channels = pixels.shape
    picture = _upright(image, mode)
    height, width = fitted(picture.height, picture.width, size) if whole else (size, size)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if picture.mode != mode:  # gray becomes RGB after the resizing: the same values for a third of the work
        picture = picture.convert(mode)
    scaled = np.asarray(picture).reshape(height, width, channels)
    pixels[:height, :width] = scaled
    if (height, width) != (size, size):
        rest = np.rint(scaled.mean((0, 1)))
        pixels[height:], pixels[:, width:] = rest, rest


def _upright(image: bytes, mode: str) -> Image.Image:
    """Return an image upright and on white, gray or in the mode; at most two copies of it are in memory."""
    picture: Image.Image = open_image(image)
    turn = TURNS.get(_orientation(picture, image))
    if _has_transparency(picture):
        picture = _on_white(picture)
    if picture.mode not in ("L", mode):
        picture = picture.convert(mode)
    return picture if turn is None else picture.transpose(turn)


def _has_transparency(picture: Image.Image) -> bool:
    if picture.mode == "P" and picture.palette is None:
        return "transparency" in picture.info
    return picture.has_transparency_data


def _orientation(opened: Image.Image, image: bytes) -> int:
    """Return the EXIF orientation; 1, upright, if there is none or it cannot be read."""
    turned_by_pillow = opened.format == "TIFF"
    if turned_by_pillow or (opened.format == "PNG" and not any(mark in image for mark in PNG_ORIENTED)):
        return 1
    try:
        return int(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata; a damaged image fails when it is decoded
        return 1


def _on_white(opened: Image.Image) -> Image.Image:
    """Return the image, gray or RGB, with transparent pixels on white."""
    opened.load()
    width, height = opened.size
    flat = Image.new("L" if opened.mode in GRAY_MODES else "RGB", opened.size, "white")
    for top in range(0, height, STRIP):
        box = (0, top, width, min(top + STRIP, height))
        strip = opened.crop(box).convert("RGBA")
        flat.paste(strip, box, strip)
    return flat
