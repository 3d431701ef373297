"""Images of every format, whole, mutated, truncated, and mutated with right checksums.

cases(seed, count), run(case)
"""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from attacks.mutations import mutated
from attacks.workers import judged
from PIL import Image

from raysl.data.storage.images import decode, headers
from raysl.errors import UserError

SIZE = 24
DECODED = 32
MODES = {
    "PNG": ("L", "LA", "P", "RGB", "RGBA", "1", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P", "RGB"),
    "TIFF": ("1", "L", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
    "TGA": ("L", "LA", "P", "RGB", "RGBA"),
    "SGI": ("L", "RGB", "RGBA"),
    "PCX": ("1", "L", "P", "RGB"),
    "DDS": ("L", "LA", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "MSP": ("1",),
    "XBM": ("1",),
    "BLP": ("P",),
    "SPIDER": ("F",),
    "ICO": ("RGBA",),
    "IM": ("L", "RGB"),
    "AVIF": ("RGB", "RGBA"),
    "QOI": ("RGB", "RGBA"),
    "DIB": ("RGB",),
}
OPTIONS: dict[str, list[dict[str, object]]] = {
    "TIFF": [{}, *({"compression": name} for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"))],
    "JPEG": [{}, {"progressive": True}],
    "WEBP": [{}, {"lossless": True}],
    "TGA": [{}, {"compression": "tga_rle"}],
    "DDS": [{}, {"pixel_format": "DXT5"}],
}
OTHERS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) print\nshowpage\n%%EOF\n",
    "PDF": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "XPM": b'/* XPM */\nstatic char *x[] = {\n"2 2 2 1",\n"a c #ff0000",\n"b c #00ff00",\n"ab",\n"ba"};\n',
    "PPM plain": b"P3\n2 2\n255\n" + b"1 2 3 " * 4,
    "PPM deep": b"P6\n2 2\n65535\n" + bytes(24),
    "PPM scaled": b"P6\n2 2\n100\n" + bytes(range(12)),
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(12) + bytes(2 + 48),
    "QOI": b"qoif" + struct.pack(">IIBB", 8, 8, 3, 0) + b"\xfe\x10\x20\x30" + b"\xfd\x80" + bytes(7) + b"\1",
    "empty": b"",
}


class Case(NamedTuple):
    """An encoded image, and what it was made from by what."""

    name: str
    content: bytes


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield so many cases; the same seed gives the same."""
    generator = random.Random(seed)
    seeds = list(seeds_of().items())
    for number in range(count):
        name, content = seeds[number % len(seeds)] if number < len(seeds) else generator.choice(seeds)
        change = generator.choice(CHANGES)
        yield Case(f"{name}, {change.__name__}", change(content, generator))


def run(case: Case) -> str:
    """Return what comes of looking at an image and of decoding it."""
    return judged(lambda: _looked_at(case.content), UserError)


def _looked_at(content: bytes) -> None:
    headers([content], 0)
    pixels = decode([content], DECODED, 3, 0)
    assert pixels.shape == (1, DECODED, DECODED, 3)


@cache
def seeds_of() -> dict[str, bytes]:
    """Return a small image of each format, mode and way of packing, and other files."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    picture = Image.fromarray(np.sort(pixels, axis=0))
    found = dict(OTHERS)
    for kind, modes in MODES.items():
        for mode in modes:
            for options in OPTIONS.get(kind, [{}]):
                if content := _encoded(picture, kind, mode, options):
                    found[f"{kind} {mode} {options or ''}".strip()] = content
    frames = [picture, picture.rotate(90)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        found[f"{kind} frames"] = _saved(picture, kind, save_all=True, append_images=frames)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        found[f"{kind} turned"] = _saved(picture, kind, exif=exif)
    found["MPO"] = _saved(picture, "MPO", save_all=True, append_images=frames)
    return found


def _encoded(picture: Image.Image, kind: str, mode: str, options: dict[str, object]) -> bytes | None:
    modes = {"I;16": "I", "LA": "RGBA"}
    if options.get("compression") == "jpeg" and mode in ("1", "I;16", "F"):
        return None  # Pillow 12 ends the process
    try:
        converted = (
            picture.convert("L").convert(modes.get(mode, mode)) if mode in ("I;16", "F") else picture.convert(mode)
        )
        if mode == "I;16":
            converted = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200)
        return _saved(converted, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError):  # this Pillow cannot write that
        return None


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def whole(content: bytes, generator: random.Random) -> bytes:
    """Return it as it is."""
    return content


def rechecked(content: bytes, generator: random.Random) -> bytes:
    """Mutate, and put right the checksums of a PNG's chunks, so that what is behind them is reached."""
    content = mutated(content, generator)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    parts, place = [content[:8]], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4])
        end = min(place + 8 + length, len(content) - 4)
        parts.append(content[place:end] + struct.pack(">I", zlib.crc32(content[place + 4 : end])))
        place = end + 4
    return b"".join(parts)


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (whole, mutated, mutated, mutated, rechecked)
