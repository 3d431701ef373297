"""Which formats are read, and which images of theirs are not decoded."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import raysl
from raysl.data.storage import formats
from raysl.data.storage.formats import FORMATS, MOST_PIXELS, SLOW_PIXELS, UnfitError, bounded, open_image, suffixes
from raysl.data.storage.images import ImageError, decode, encode, headers

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour_type: int, content: bytes, before: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + before + header + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def deep_png(colour_type: int, samples: int, before: bytes = b"") -> bytes:
    """A PNG of 2 x 2 pixels with 16 bits for each of so many samples, which Pillow can read but not write."""
    return png(2, 2, 16, colour_type, (b"\0" + bytes(4 * samples)) * 2, before)


def icon(picture: bytes) -> bytes:
    """A Windows icon of one embedded picture."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(picture), 22) + picture


def deep_tiff() -> bytes:
    """A TIFF of one RGB pixel with 16 bits per channel."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 128), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 134)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(128, b"\0") + struct.pack("<HHH", 16, 16, 16) + bytes(6)


def deep_sgi(samples: int) -> bytes:
    head = struct.pack(">HBBHHHHII", 474, 0, 2, 2 if samples == 1 else 3, 2, 2, samples, 0, 65535)
    return head.ljust(512, b"\0") + bytes(2 * 4 * samples)


def deep_jpeg2000() -> bytes:
    """A JPEG 2000 whose header says 12 bits per channel."""
    image = bytearray(saved(PICTURE, "JPEG2000", no_jp2=True))
    place = image.index(b"\xff\x51") + 40
    assert image[place : place + 3 * 3 : 3] == b"\7\7\7"
    image[place : place + 3 * 3 : 3] = b"\x0b\x0b\x0b"
    return bytes(image)


def deep_avif() -> bytes:
    """An AVIF whose header says 10 bits per channel."""
    image = bytearray(saved(PICTURE, "AVIF"))
    image[image.index(b"av1C") + 6] |= 0x40
    place = image.index(b"pixi") + 8
    image[place : place + 4] = b"\3\x0a\x0a\x0a"
    return bytes(image)


def deep_dds() -> bytes:
    """A DDS of 4 x 4 colours of half floats (BC6H)."""
    head = struct.pack("<7I44x8I20x", 124, 0x1007, 4, 4, 16, 0, 0, 32, 4, 0, 0, 0, 0, 0, 0)
    return b"DDS " + head[:80] + b"DX10" + head[84:] + struct.pack("<5I", 95, 3, 0, 1, 0) + bytes(16)


DEEP = {
    "PNG gray": saved(Image.fromarray(np.full((4, 4), 40_000, np.uint16)), "PNG"),
    "PNG RGB": deep_png(2, 3),
    "PNG RGBA": deep_png(6, 4),
    "PNG LA": deep_png(4, 2),
    "PNG with a chunk before its header": deep_png(2, 3, chunk(b"tEXt", b"a\0b")),
    "TIFF RGB": deep_tiff(),
    "TIFF gray": saved(Image.fromarray(np.full((4, 4), 40_000, np.uint16)), "TIFF"),
    "TIFF floats": saved(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"),
    "PPM": b"P6\n2 2\n65535\n" + bytes(24),
    "PPM of 12 bits": b"P6\n2 2\n4095\n" + bytes(24),
    "PPM as text": b"P3\n2 2\n256\n" + b"1 2 256 " * 4,
    "PGM": b"P5\n2 2\n1000\n" + bytes(8),
    "PFM": b"Pf\n2 2\n-1.0\n" + bytes(16),
    "SGI gray": deep_sgi(1),
    "SGI RGB": deep_sgi(3),
    "SGI RGBA": deep_sgi(4),
    "JPEG 2000 RGB": deep_jpeg2000(),
    "JPEG 2000 gray": saved(Image.fromarray(np.full((4, 4), 40_000, np.uint16)), "JPEG2000"),
    "AVIF": deep_avif(),
    "DDS": deep_dds(),
    "ICO": icon(deep_png(6, 4)),
    "ICNS": b"icns"
    + struct.pack(">I", 16 + len(deep_png(6, 4)))
    + b"ic07"
    + struct.pack(">I", 8 + len(deep_png(6, 4)))
    + deep_png(6, 4),
}


@pytest.mark.parametrize("image", DEEP.values(), ids=DEEP)
def test_more_than_8_bits_are_refused_rather_than_cut(image: bytes) -> None:
    for function in (lambda: headers([encode(PIXELS), image], 6), lambda: decode([encode(PIXELS), image], 12, 3, 6)):
        with pytest.raises(ImageError, match=r"row 7 has more than 8 bits per channel .*convert it to 8"):
            function()


SHALLOW = {
    "PPM of 100 values": b"P6\n2 2\n100\n" + bytes(range(12)),
    "PPM as text": b"P3\n2 2\n255\n" + b"1 2 255 " * 4,
    "PBM": b"P4\n2 2\n\x80\x40",
    "SGI": saved(PICTURE, "SGI"),
    "JPEG 2000": saved(PICTURE, "JPEG2000"),
    "JPEG 2000 RGBA": saved(PICTURE.convert("RGBA"), "JPEG2000"),
    "AVIF": saved(PICTURE.convert("RGBA"), "AVIF"),
    "DDS": saved(PICTURE.convert("RGBA"), "DDS"),
    "DDS, compressed": saved(PICTURE.convert("RGBA"), "DDS", pixel_format="DXT5"),
    "PNG of 16 colours": saved(PICTURE.quantize(16), "PNG", bits=4),
    "TIFF of bits": saved(PICTURE.convert("1"), "TIFF"),
    "QOI": saved(PICTURE, "QOI"),
    "BMP of 16 bits a pixel": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 62, 0, 0, 54, 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0)
    + bytes(8),
}


@pytest.mark.parametrize("image", SHALLOW.values(), ids=SHALLOW)
def test_8_bits_and_fewer_are_decoded(image: bytes) -> None:
    ((width, _, _, _),) = headers([image], 0)
    expected = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    np.testing.assert_array_equal(decode([image], width, 3, 0)[0], expected)


SEVERAL = {
    kind: saved(PICTURE, kind, save_all=True, append_images=[PICTURE.rotate(90), PICTURE.rotate(180)])
    for kind in ("GIF", "PNG", "TIFF", "WEBP", "AVIF")
}


@pytest.mark.parametrize("image", SEVERAL.values(), ids=SEVERAL)
def test_animations_and_pages_are_refused(image: bytes) -> None:
    with pytest.raises(ImageError, match=r"row 0 holds several pictures, pages or frames .* image of its own"):
        headers([image], 0)
    with pytest.raises(ImageError, match="row 2 holds several pictures"):
        decode([image], 8, 3, 2)


def test_colours_that_cannot_be_converted_are_refused() -> None:
    with pytest.raises(ImageError, match=r"row 0 has colours that cannot be converted \(TIFF, mode LAB\)"):
        headers([saved(PICTURE.convert("YCbCr").convert("RGB").convert("LAB"), "TIFF")], 0)


def test_of_a_photograph_with_previews_the_first_picture_counts() -> None:
    image = saved(PICTURE, "MPO", save_all=True, append_images=[PICTURE.rotate(90).resize((6, 6))])
    assert Image.open(io.BytesIO(image)).n_frames == 2
    assert headers([image], 0) == {(12, 12, 3, False)}
    np.testing.assert_array_equal(decode([image], 12, 3, 0)[0], np.asarray(Image.open(io.BytesIO(image))))


def test_of_an_icon_the_largest_picture_counts() -> None:
    large = PICTURE.resize((32, 32))
    image = saved(large, "ICO", sizes=[(16, 16), (32, 32)])
    assert headers([image], 0) == {(32, 32, 3, False)} or headers([image], 0) == {(32, 32, 3, True)}
    np.testing.assert_array_equal(decode([image], 32, 3, 0)[0], np.asarray(large))


@pytest.mark.parametrize(
    ("width", "height"),
    [(13_300, 13_300), (MOST_PIXELS // 1000, 1001), (2**31 - 1, 2**31 - 1), (70_000, 10), (10, 70_000)],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    image = png(width, height, 8, 2, b"")
    bound = 65_535 if 10 in (width, height) else MOST_PIXELS
    for function in (lambda: headers([image], 5), lambda: decode([image], 8, 3, 5)):
        with pytest.raises(ImageError, match=f"row 5 has (more than|{width} x {height} pixels, .* at most) {bound}"):
            function()


def test_an_embedded_picture_of_too_many_pixels_is_refused() -> None:
    inner = png(13_300, 13_300, 8, 2, b"")
    image = icon(inner)
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=f"row 0 has more than {MOST_PIXELS} pixels"):
        headers([image], 0)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["PPM", "QOI", "DDS"])
def test_formats_that_are_decoded_slowly_have_a_bound_of_their_own(kind: str) -> None:
    edge = int(SLOW_PIXELS**0.5) + 1
    image = {
        "PPM": f"P6\n{edge} {edge}\n100\n".encode(),
        "QOI": b"qoif" + struct.pack(">IIBB", edge, edge, 3, 0),
        "DDS": b"DDS "
        + struct.pack("<7I44x8I20x", 124, 0x1007, edge, edge, 0, 0, 0, 32, 0x40, 0, 32, 255, 255, 255, 0),
    }[kind]
    with pytest.raises(
        ImageError, match=f"has {edge} x {edge} pixels, and at most {SLOW_PIXELS} of this kind of {kind}"
    ):
        headers([image], 0)


@pytest.mark.parametrize("kind", formats.HEAVY_PIXELS)
def test_formats_that_take_much_memory_have_a_bound_of_their_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert formats.HEAVY_PIXELS[kind] >= 24_000_000
    monkeypatch.setitem(formats.HEAVY_PIXELS, kind, 143)
    with pytest.raises(ImageError, match=f"has 12 x 12 pixels, and at most 143 of this kind of {kind} are decoded"):
        headers([saved(PICTURE, kind)], 0)


def test_a_jpeg_of_many_scans_is_refused() -> None:
    gray = saved(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = gray[gray.rindex(b"\xff\xc4", 0, gray.rindex(b"\xff\xda")) : -2]  # its table and its data
    video = b"\xff\xda\0\2" * 1000  # of a moving photograph, after the image
    assert headers([gray + video], 0) == headers([gray + last * 200 + video], 0) == {(2000, 2000, 1, False)}
    with pytest.raises(ImageError, match="row 0 has more than 250 scans of 2000 x 2000 pixels"):
        headers([gray[:-2] + last * 250 + gray[-2:]], 0)


def test_photographs_of_24_megapixels_are_decoded() -> None:
    image = saved(Image.new("RGB", (6000, 4000), (10, 200, 30)), "JPEG")
    assert headers([image], 0) == {(6000, 4000, 3, False)}
    assert abs(decode([image], 8, 3, 0).astype(int) - (10, 200, 30)).max() <= 2


def test_images_of_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MOST_BYTES", 100)
    with pytest.raises(UnfitError, match=r"takes \d+ bytes, and at most 100 are decoded"):
        open_image(encode(PIXELS))


UNREAD = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n",
    "EPS with a preview": struct.pack("<IIIIIII", 0xC6D3D0C5, 32, 60, 0, 0, 0, 0).ljust(32, b"\0")
    + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "PDF": b"%PDF-1.4\n%%EOF\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "GRIB": b"GRIB\0\0\0\1" + bytes(40),
    "FITS": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
}


@pytest.mark.parametrize("image", UNREAD.values(), ids=UNREAD)
def test_other_formats_are_refused_and_no_program_runs(
    image: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "gs"
    stub.write_text(f"#!/bin/sh\necho called >> {tmp_path}/called\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for function in (lambda: headers([image], 3), lambda: decode([image], 8, 1, 3)):
        with pytest.raises(ImageError, match=r"row 3 cannot be decoded \(not an image\); formats: PNG, JPEG, .*AVIF"):
            function()
    assert not (tmp_path / "called").exists()


def test_formats_of_plug_ins_are_not_asked() -> None:
    asked = []
    Image.register_open("PLUGIN", lambda *arguments: asked.append(1), lambda prefix: True)
    try:
        with pytest.raises(ImageError, match="not an image"):
            headers([b"anything"], 0)
    finally:
        del Image.OPEN["PLUGIN"]
        Image.ID.remove("PLUGIN")
    assert not asked


def test_no_module_of_another_format_is_imported() -> None:
    script = (
        "import sys; from raysl.data.storage.images import headers; headers([], 0); "
        "from raysl.data.storage.formats import suffixes"
    )
    check = "suffixes(); print(*(name for name in sys.modules if 'ImagePlugin' in name))"
    done = subprocess.run([sys.executable, "-c", f"{script}; {check}"], capture_output=True, text=True, check=True)
    imported = {name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in done.stdout.split()}
    assert imported >= {"Png", "Jpeg", "Tga"}
    assert not imported & {"Eps", "Wmf", "Fpx", "Mic", "Iptc", "Hdf5Stub", "BufrStub", "GribStub", "Mpeg", "Fits"}


def test_images_are_opened_in_one_place() -> None:
    root = Path(raysl.__file__).parent
    places = {path.name for path in root.rglob("*.py") if "Image.open(" in path.read_text()}
    assert places == {"formats.py", "segmented.py"}  # the second reads PNGs that raysl has written


def test_suffixes_are_those_of_the_formats() -> None:
    assert {".png", ".apng", ".jpg", ".jfif", ".jpe", ".gif", ".tif", ".webp", ".jp2", ".avif", ".tga"} <= suffixes()
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".h5", ".mpg", ".fits", ".svg", ""} & suffixes()
    assert set(formats.SIGNED) < FORMATS.keys()


def test_bounds_are_those_of_the_package_only_while_it_decodes() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(KeyError), bounded():  # noqa: PT012
        assert Image.MAX_IMAGE_PIXELS == MOST_PIXELS
        raise KeyError
    assert before == Image.MAX_IMAGE_PIXELS
