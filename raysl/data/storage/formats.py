"""Image formats: which are read, how large an image may be, and what an array of 8-bit pixels cannot hold.

Only Pillow's own decoders of raster formats are used. None of them runs another program, as EPS does, leaves the
reading to a plug-in (BUFR, GRIB, HDF5, WMF, FPX, MIC), opens embedded files of any format (IPTC) or unpacks without a
limit (FITS).
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import IO

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

# Each with its module of Pillow. Formats without a signature come last: their decoders may accept other formats.
FORMATS = {
    "PNG": "Png",
    "JPEG": "Jpeg",
    "MPO": "Mpo",
    "GIF": "Gif",
    "BMP": "Bmp",
    "TIFF": "Tiff",
    "WEBP": "WebP",
    "PPM": "Ppm",
    "JPEG2000": "Jpeg2K",
    "AVIF": "Avif",
    "DIB": "Bmp",
    "PSD": "Psd",
    "QOI": "Qoi",
    "DDS": "Dds",
    "SGI": "Sgi",
    "ICO": "Ico",
    "ICNS": "Icns",
    "CUR": "Cur",
    "PCX": "Pcx",
    "DCX": "Dcx",
    "SUN": "Sun",
    "BLP": "Blp",
    "FTEX": "Ftex",
    "FLI": "Fli",
    "GBR": "Gbr",
    "MCIDAS": "McIdas",
    "MSP": "Msp",
    "PIXAR": "Pixar",
    "XBM": "Xbm",
    "XPM": "Xpm",
    "XVTHUMB": "XVThumb",
    "IM": "Im",
    "PCD": "Pcd",
    "TGA": "Tga",
    "SPIDER": "Spider",
}
SIGNED = ("PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "PSD", "QOI", "DDS", "ICO")
COMMON = "PNG, JPEG, GIF, BMP, TIFF, WebP, PPM, JPEG 2000, AVIF and other raster formats of Pillow's"

MOST_PIXELS = 50_000_000  # 400 MB while the mode is converted; photographs of 48 megapixels fit
# Formats whose decoder takes more than 8 bytes per pixel: as many pixels as fit into 500 MB.
HEAVY_PIXELS = {"WEBP": 30_000_000, "AVIF": 40_000_000, "JPEG2000": 24_000_000}
MOST_EDGE = 65_535  # pixels; JPEG's own bound, and resizing longer edges takes much memory
MOST_BYTES = 5 * MOST_PIXELS  # of an encoded image: more than its pixels take uncompressed
SLOW_PIXELS = 1_000_000  # if Pillow decodes in Python, some microseconds a pixel
MOST_SCANNED = 20 * MOST_PIXELS  # pixels of all scans of a JPEG; each scan takes as long as an image

GRAY_MODES = ("1", "L", "LA", "La")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
ONE_PICTURE = ("MPO", "PSD")  # their further pictures are previews, gain maps, second views and layers
SCAN, END = b"\xff\xda", b"\xff\xd9"  # markers of a JPEG
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # markers that do not occur in coded data
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH_IN_PNG = 16  # place of the bits per channel after the signature
CODESTREAM = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream
TIFF_DEPTH = 258  # tag of a TIFF's bits per channel
HALF_FLOATS = 6  # number of DDS's block compression with 16-bit colours


class UnfitError(ValueError):
    """An undamaged image that raysl does not decode; the message follows the image's name."""


@contextmanager
def bounded() -> Iterator[None]:
    """Make Pillow refuse images of too many pixels, embedded ones too, and not warn about metadata."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def open_image(image: bytes) -> ImageFile:
    """Return the image of encoded bytes with its header read; pixels are not decoded.

    Raises UnfitError for an image that is too large, holds several pictures or cannot be 8 bits per channel without
    loss, and whatever Pillow raises for bytes that are no image.
    """
    if not image:
        raise UnfitError("is empty")
    if len(image) > MOST_BYTES:
        raise UnfitError(f"takes {len(image)} bytes, and at most {MOST_BYTES} are decoded; make it smaller")
    opened = Image.open(io.BytesIO(image), formats=_known())
    kind = f"({opened.format}, mode {opened.mode if opened.mode in Image.MODES else 'unknown'})"
    _check_size(opened)
    _check_scans(opened, image)
    if opened.format not in ONE_PICTURE and getattr(opened, "is_animated", False):
        raise UnfitError(f"holds several pictures, pages or frames {kind}; each must be an image of its own")
    if opened.mode.split(";")[0] in ("I", "F") or _depth(opened, image) > 8:
        raise UnfitError(f"has more than 8 bits per channel {kind}; convert it to 8")
    if opened.mode not in (*GRAY_MODES, *COLOUR_MODES):
        raise UnfitError(f"has colours that cannot be converted {kind}; convert it to RGB")
    return opened


def open_png(content: bytes) -> ImageFile:
    """Return a PNG of any number of bits with its header read; raises whatever Pillow raises for other bytes."""
    return Image.open(io.BytesIO(content), formats=("PNG",))


def recognise(image: IO[bytes]) -> str | None:
    """Return the name of the format that a file's signature shows; None if it is none of `SIGNED`."""
    with bounded():
        try:
            return Image.open(image, formats=[name for name in SIGNED if name in _known()]).format
        except Exception:  # a decoder may raise anything
            return None


@cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of image files, in lower case."""
    _known()
    return frozenset(suffix for suffix, name in Image.EXTENSION.items() if name in FORMATS)


@cache
def _known() -> tuple[str, ...]:
    """Return the formats that this Pillow has; only their modules of Pillow are imported."""
    for module in FORMATS.values():
        with suppress(ImportError):  # older versions have no AVIF
            import_module(f"PIL.{module}ImagePlugin")
    return tuple(name for name in FORMATS if name in Image.OPEN)  # MPO is opened as JPEG


def _check_size(opened: ImageFile) -> None:
    width, height = opened.size
    in_python = any(codec in Image.DECODERS for codec, *_ in opened.tile)
    most = SLOW_PIXELS if in_python else HEAVY_PIXELS.get(opened.format or "", MOST_PIXELS)
    if width * height > most:
        kind = "" if most == MOST_PIXELS else f" of this kind of {opened.format}"
        raise UnfitError(f"has {width} x {height} pixels, and at most {most}{kind} are decoded; make it smaller")
    if max(width, height) > MOST_EDGE:
        raise UnfitError(f"has {width} x {height} pixels, and an edge at most {MOST_EDGE}; make it smaller")


def _check_scans(opened: ImageFile, image: bytes) -> None:
    most = MOST_SCANNED // max(1, opened.width * opened.height)
    # Counting these bytes is quick, but they may also lie in a preview or after the image.
    if opened.format in ("JPEG", "MPO") and image.count(SCAN) > most and _has_scans(image, most + 1):
        raise UnfitError(f"has more than {most} scans of {opened.width} x {opened.height} pixels; save it anew")


def _has_scans(image: bytes, count: int) -> bool:
    """Return whether a JPEG has at least `count` scans before its end marker."""
    match = MARKER.search(image, 2)
    while match and count and match[0] != END:
        place = match.start()
        count -= match[0] == SCAN
        match = MARKER.search(image, place + 2 + int.from_bytes(image[place + 2 : place + 4]))
    return not count


def _depth(opened: ImageFile, image: bytes) -> int:
    """Return the stored bits per channel; Pillow truncates more than 8 to 8, and still calls the mode RGB."""
    depth = DEPTHS.get(opened.format or "")
    return depth(opened, image) if depth else 8


def _png_depth(opened: ImageFile, image: bytes) -> int:
    return 16 if any(";16" in str(stored) for *_, stored in opened.tile) else 8


def _tiff_depth(opened: ImageFile, image: bytes) -> int:
    assert isinstance(opened, TiffImageFile)
    return max(int(bits) for bits in opened.tag_v2.get(TIFF_DEPTH, (8,)))


def _ppm_depth(opened: ImageFile, image: bytes) -> int:
    # The decoders' arguments are the mode and the largest value.
    largest = [stored[1] for codec, *_, stored in opened.tile if codec.startswith("ppm") and isinstance(stored, tuple)]
    return max([8, *(int(value).bit_length() for value in largest)])


def _sgi_depth(opened: ImageFile, image: bytes) -> int:
    return 8 * image[3]


def _jpeg2000_depth(opened: ImageFile, image: bytes) -> int:
    sizes = image.index(CODESTREAM) + 4  # its first marker segment
    count = int.from_bytes(image[sizes + 36 : sizes + 38])
    return max((bits & 0x7F) + 1 for bits in image[sizes + 38 : sizes + 38 + 3 * count : 3])


def _icon_depth(opened: ImageFile, image: bytes) -> int:
    """Return the most bits per channel of the embedded PNG and JPEG 2000 images."""
    depths = [part[DEPTH_IN_PNG] for part in image.split(PNG_SIGNATURE)[1:] if len(part) > DEPTH_IN_PNG]
    return max([8, *depths, *([_jpeg2000_depth(opened, image)] if CODESTREAM in image else [])])


def _avif_depth(opened: ImageFile, image: bytes) -> int:
    # The third byte of each decoder configuration has the flag `high_bitdepth`.
    boxes = image.split(b"av1C")[1:]
    return 10 if any(box[2] & 0x40 for box in boxes) else 8


def _dds_depth(opened: ImageFile, image: bytes) -> int:
    # The decoder's first argument is the number of the compression.
    return (
        16
        if any(
            codec == "bcn" and isinstance(stored, tuple) and stored[0] == HALF_FLOATS
            for codec, *_, stored in opened.tile
        )
        else 8
    )


DEPTHS: dict[str, Callable[[ImageFile, bytes], int]] = {
    "PNG": _png_depth,
    "TIFF": _tiff_depth,
    "PPM": _ppm_depth,
    "SGI": _sgi_depth,
    "JPEG2000": _jpeg2000_depth,
    "AVIF": _avif_depth,
    "ICO": _icon_depth,
    "ICNS": _icon_depth,
    "DDS": _dds_depth,
}
