"""Decoding: formats, modes, sizes, damage."""

import io
import struct
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL import __version__ as pillow_version
from PIL.PngImagePlugin import PngInfo

from raysl.data.storage.images import ImageError, decode, encode, headers
from raysl.errors import DataError

PILLOW = int(pillow_version.partition(".")[0])
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(8, 8), (9, 9, 3)])
def test_png_gives_the_pixels_back(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    channels = 1 if len(shape) == 2 else 3
    assert headers([encode(pixels)], 0) == {(shape[1], shape[0], channels, False)}
    np.testing.assert_array_equal(decode([encode(pixels)], shape[0], channels, 0)[0].squeeze(), pixels)


def test_jpeg_is_read_in_gray_and_colour() -> None:
    for mode, channels in (("L", 1), ("RGB", 3)):
        image = encoded(Image.fromarray(PIXELS).convert(mode), "JPEG")
        assert headers([image], 0) == {(12, 12, channels, False)}
        expected = np.asarray(Image.open(io.BytesIO(image))).reshape(12, 12, channels)
        np.testing.assert_array_equal(decode([image], 12, channels, 0)[0], expected)


def test_gray_becomes_colour_and_colour_gray() -> None:
    gray, colour = encode(PIXELS[..., 0]), encode(PIXELS)
    np.testing.assert_array_equal(decode([gray], 12, 3, 0)[0], PIXELS[..., :1].repeat(3, axis=-1))
    luma = np.asarray(Image.fromarray(PIXELS).convert("L"))
    np.testing.assert_array_equal(decode([colour], 12, 1, 0)[0, ..., 0], luma)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF"), ("CMYK", "JPEG")),
        pytest.param(
            "YCbCr", "TIFF", marks=pytest.mark.skipif(PILLOW < 13, reason="Pillow 12 does not read what it writes")
        ),
    ],
)
def test_other_modes_are_converted(mode: str, kind: str) -> None:
    picture = Image.fromarray(PIXELS).convert(mode)
    image = encoded(picture, kind)
    assert headers([image], 0) == {(12, 12, 1 if mode in ("1", "LA") else 3, mode in ("RGBA", "LA"))}
    expected = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    np.testing.assert_array_equal(decode([image], 12, 3, 0)[0], expected)


def test_resizing_is_bilinear_and_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    small = decode([encode(stripes)], 8, 3, 0)[0]
    assert (abs(small.astype(int) - 100) <= 1)[:, 1:-1].all()  # plain sampling would give 0 or 200
    expected = np.asarray(Image.fromarray(PIXELS).resize((5, 5), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode([encode(PIXELS)], 5, 3, 0)[0], expected)


def test_oblong_images_become_square() -> None:
    assert decode([encode(PIXELS[:7])], 6, 3, 0).shape == (1, 6, 6, 3)
    assert headers([encode(PIXELS[:7]), encode(PIXELS)], 0) == {(12, 7, 3, False), (12, 12, 3, False)}


def flattened(image: bytes) -> np.ndarray:
    """Pixels on white, RGB, worked out from Pillow's RGBA."""
    seen = np.asarray(Image.open(io.BytesIO(image)).convert("RGBA")).astype(float)
    alpha = seen[..., 3:] / 255
    return seen[..., :3] * alpha + 255 * (1 - alpha)


def veiled(mode: str) -> Image.Image:
    """A picture whose alpha runs from 0 to 255."""
    picture = Image.fromarray(PIXELS).convert("L" if mode == "LA" else "RGB")
    picture.putalpha(Image.fromarray(np.linspace(0, 255, 144).astype(np.uint8).reshape(12, 12)))
    return picture


def palette(transparency: bytes | int, kind: str) -> bytes:
    return encoded(Image.fromarray(PIXELS).quantize(16), kind, transparency=transparency)


TRANSPARENT = {
    "PNG RGBA": encoded(veiled("RGBA")),
    "PNG LA": encoded(veiled("LA")),
    "PNG palette, shades": palette(bytes(range(0, 256, 16)), "PNG"),
    "PNG palette, one": palette(3, "PNG"),
    "PNG gray, one": encoded(Image.fromarray(PIXELS[..., 0] // 64 * 64), transparency=64),
    "PNG colour, one": encoded(Image.fromarray(PIXELS // 128 * 128), transparency=(0, 128, 0)),
    "PNG bits, one": encoded(Image.fromarray(PIXELS[..., 0]).convert("1"), transparency=0),
    "GIF": palette(3, "GIF"),
    "WebP": encoded(veiled("RGBA"), "WEBP", lossless=True),
    "TIFF": encoded(veiled("RGBA"), "TIFF"),
    "TIFF LA": encoded(veiled("LA"), "TIFF"),
    "TGA": encoded(veiled("RGBA"), "TGA"),
    "ICO": encoded(veiled("RGBA").resize((16, 16)), "ICO", sizes=[(16, 16)]),
}


@pytest.mark.parametrize("image", TRANSPARENT.values(), ids=TRANSPARENT)
def test_what_is_transparent_becomes_white(image: bytes) -> None:
    ((width, height, channels, altered),) = headers([image], 0)
    assert altered
    expected = flattened(image)
    assert (expected > 250).mean() > (np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) > 250).mean()
    pixels = decode([image], width, 3, 0)[0]
    assert abs(pixels - expected).max() <= 1
    if channels == 1:
        np.testing.assert_array_equal(decode([image], height, 1, 0)[0], pixels[..., :1])


def test_large_transparent_images_are_flattened_to_their_last_row() -> None:
    picture = veiled("RGBA").resize((600, 600), Image.Resampling.NEAREST)
    assert abs(decode([encoded(picture)], 600, 3, 0)[0] - flattened(encoded(picture))).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_images_have_the_pixels_that_they_have_without_transparency(mode: str) -> None:
    picture = Image.fromarray(PIXELS).convert("L" if mode == "LA" else "RGB")
    plain = encoded(picture)
    picture.putalpha(255)
    for size in (12, 5):
        np.testing.assert_array_equal(decode([encoded(picture)], size, 3, 0), decode([plain], size, 3, 0))


def oriented(number: int, kind: str) -> bytes:
    picture = Image.fromarray(np.sort(PIXELS.repeat(4, 0).repeat(2, 1), axis=0))  # 24 x 48
    if kind == "XMP":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", f'<x tiff:Orientation="{number}"/>')
        return encoded(picture, pnginfo=text)
    exif = Image.Exif()
    exif[0x0112] = number
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return encoded(picture, kind, exif=exif, **lossless)


@pytest.mark.parametrize("kind", ["PNG", "XMP", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("number", range(1, 9))
def test_images_are_turned_as_their_metadata_ask(number: int, kind: str) -> None:
    image = oriented(number, kind)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(image)))
    assert upright.size == ((24, 48) if number < 5 else (48, 24))
    assert headers([image], 0) == {(*upright.size, 3, number > 1 and kind != "TIFF")}  # Pillow turns TIFFs itself
    for channels in (1, 3):
        np.testing.assert_array_equal(decode([image], 20, channels, 0), decode([encoded(upright)], 20, channels, 0))


@pytest.mark.parametrize("harm", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + b"\xff" * 40])
def test_metadata_that_no_reader_understands_turn_nothing(harm: bytes) -> None:
    picture = Image.fromarray(PIXELS)
    image = encoded(picture, "JPEG", exif=harm)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert headers([image], 0) == {(12, 12, 3, False)}
        np.testing.assert_array_equal(decode([image], 12, 3, 0), decode([encoded(picture, "JPEG")], 12, 3, 0))


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


@pytest.mark.parametrize(
    "error",
    [
        *(
            KeyError("x"),
            struct.error("short"),
            RecursionError(),
            MemoryError(),
            NotImplementedError("kind"),
            IndexError(),
        ),
        *(
            Image.DecompressionBombError("much"),
            Image.DecompressionBombWarning("much"),
            UserWarning("odd"),
            TypeError(),
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("step", ["open", "convert"])
def test_whatever_a_decoder_raises_names_the_image(
    error: Exception, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(*(Image, "open") if step == "open" else (Image.Image, "convert"), failing)
    reason = "has more than" if "Bomb" in repr(error) else f"cannot be decoded .*{type(error).__name__}"
    with pytest.raises(ImageError, match=f"row 4 {reason}"):
        decode([encoded(Image.fromarray(PIXELS))], 12, 1, 4)


DDS = b"DDS " + struct.pack("<7I44x8I20x", 124, 0x1007, 4, 4, 0, 0, 0, 32, 4, 0, 0, 0, 0, 0, 0)
DAMAGED = {
    "DDS of an unknown kind": DDS[:84] + b"ABCD" + DDS[88:],
    "DDS of an unknown number": DDS[:84] + b"DX10" + DDS[88:] + struct.pack("<5I", 9999, 3, 0, 1, 0),
    "BLP of an unknown kind": b"BLP2" + struct.pack("<I4B2I", 7, 9, 9, 9, 9, 4, 4) + bytes(1200),
    "PSD without layers": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + b"\xff" * 12,
    "ICNS that is cut off": b"icns" + struct.pack(">I", 40) + b"ic07" + struct.pack(">I", 32) + b"\0" * 8,
    "JPEG 2000 of a header alone": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(8),
}


@pytest.mark.parametrize("image", DAMAGED.values(), ids=DAMAGED)
def test_damaged_images_of_every_format_are_named(image: bytes) -> None:
    with pytest.raises(ImageError, match="row 3 cannot be decoded") as caught:
        decode([image], 8, 1, 3)
    assert "\n" not in str(caught.value)
    with suppress(ImageError):  # headers may be whole
        headers([image], 3)


def test_encoding_depends_on_no_compressor() -> None:
    assert len(encode(np.zeros((8, 8), np.uint8))) > 64 + 8  # stored, filter bytes and all
