"""Decoding: formats, modes, sizes, damage."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raysl.data.images import decode, encode, headers
from raysl.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(8, 8), (9, 9, 3)])
def test_png_gives_the_pixels_back(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    channels = 1 if len(shape) == 2 else 3
    assert headers([encode(pixels)], 0) == {(shape[1], shape[0], channels)}
    np.testing.assert_array_equal(decode([encode(pixels)], shape[0], channels, 0)[0].squeeze(), pixels)


def test_jpeg_is_read_in_gray_and_colour() -> None:
    for mode, channels in (("L", 1), ("RGB", 3)):
        image = encoded(Image.fromarray(PIXELS).convert(mode), "JPEG")
        assert headers([image], 0) == {(12, 12, channels)}
        expected = np.asarray(Image.open(io.BytesIO(image))).reshape(12, 12, channels)
        np.testing.assert_array_equal(decode([image], 12, channels, 0)[0], expected)


def test_gray_becomes_colour_and_colour_gray() -> None:
    gray, colour = encode(PIXELS[..., 0]), encode(PIXELS)
    np.testing.assert_array_equal(decode([gray], 12, 3, 0)[0], PIXELS[..., :1].repeat(3, axis=-1))
    luma = np.asarray(Image.fromarray(PIXELS).convert("L"))
    np.testing.assert_array_equal(decode([colour], 12, 1, 0)[0, ..., 0], luma)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA"])
def test_other_modes_are_converted(mode: str) -> None:
    picture = Image.fromarray(PIXELS).convert(mode)
    assert headers([encoded(picture)], 0) == {(12, 12, 1 if mode in ("1", "LA") else 3)}
    np.testing.assert_array_equal(decode([encoded(picture)], 12, 3, 0)[0], np.asarray(picture.convert("RGB")))


def test_resizing_is_bilinear_and_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    small = decode([encode(stripes)], 8, 3, 0)[0]
    assert (abs(small.astype(int) - 100) <= 1)[:, 1:-1].all()  # plain sampling would give 0 or 200
    expected = np.asarray(Image.fromarray(PIXELS).resize((5, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode([encode(PIXELS)], 5, 3, 0)[0], expected)


def test_oblong_images_become_square() -> None:
    assert decode([encode(PIXELS[:7])], 6, 3, 0).shape == (1, 6, 6, 3)
    assert headers([encode(PIXELS[:7]), encode(PIXELS)], 0) == {(12, 7, 3), (12, 12, 3)}


def test_16_bit_images_are_refused_rather_than_clipped() -> None:
    deep = encoded(Image.fromarray(np.full((4, 4), 40_000, np.uint16)))
    with pytest.raises(DataError, match="row 7 has more than 8 bits"):
        headers([deep], 7)


def deep_png(colour_type: int, samples: int) -> bytes:
    """A PNG of 2 x 2 pixels with 16 bits for each of so many samples, which Pillow can read but not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0)
    lines = (b"\0" + bytes(4 * samples)) * 2
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deep_tiff() -> bytes:
    """A TIFF of one RGB pixel with 16 bits per channel."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 128), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 134)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(128, b"\0") + struct.pack("<HHH", 16, 16, 16) + bytes(6)


@pytest.mark.parametrize(
    "image", [deep_png(2, 3), deep_png(6, 4), deep_png(4, 2), deep_tiff()], ids=["RGB", "RGBA", "LA", "TIFF"]
)
def test_16_bit_colours_are_refused_rather_than_cut(image: bytes) -> None:
    assert Image.open(io.BytesIO(image)).mode in ("RGB", "RGBA", "LA")  # as if they had 8 bits
    with pytest.raises(DataError, match="row 7 has more than 8 bits"):
        headers([encode(PIXELS), image], 6)


def test_transparency_is_dropped_and_orientation_ignored() -> None:
    clear = np.dstack([PIXELS, np.zeros((12, 12), np.uint8)])
    np.testing.assert_array_equal(decode([encoded(Image.fromarray(clear))], 12, 3, 0)[0], PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", exif=exif)
    np.testing.assert_array_equal(decode([buffer.getvalue()], 12, 3, 0)[0], PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_named(kind: str) -> None:
    picture = Image.fromarray(PIXELS.repeat(10, 0).repeat(10, 1))
    whole = encoded(picture, kind)
    with pytest.raises(DataError, match="row 11 cannot be decoded"):
        decode([whole, whole[: len(whole) // 2]], 12, 3, 10)


def test_bytes_that_are_no_image_are_named() -> None:
    for function in (lambda: headers([b"text"], 3), lambda: decode([b"text"], 8, 1, 3)):
        with pytest.raises(DataError, match=r"row 3 cannot be decoded \(not an image\)"):
            function()


def test_encoding_depends_on_no_compressor() -> None:
    assert len(encode(np.zeros((8, 8), np.uint8))) > 64 + 8  # stored, filter bytes and all
