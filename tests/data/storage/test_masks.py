"""Masks: which value is which class, how masks are scaled, and what is said of each that is none."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from tiny import here

from raysl.data.storage.formats import bounded
from raysl.data.storage.images import ImageError, encode
from raysl.data.storage.masks import UNKNOWN, MaskValues, decode_masks, mask_pixels, mask_values
from raysl.data.storage.parquet import Row, write
from raysl.errors import DataError
from raysl.results.confusion import IGNORED

PATH = Path("set.parquet")
EXPERIMENT = Path(__file__).parents[3] / "search_spaces" / "segmentation.yaml"


def values(*names: str, **metadata: bytes) -> MaskValues:
    return mask_values(PATH, names, {key.encode(): value for key, value in metadata.items()})


def numbers(found: MaskValues, count: int) -> list[int]:
    return found.classes[:count].tolist()


def saved(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def gray_png(depth: int, width: int, height: int, content: bytes) -> bytes:
    """A PNG of one channel with so many bits a pixel; content: the rows' bytes, one after another."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    each = len(content) // height
    rows = b"".join(b"\0" + content[start : start + each] for start in range(0, len(content), each))
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_each_value_is_a_class_or_ignored_or_unknown() -> None:
    found = values("sky", "road", "tree")
    assert found.class_names == ("sky", "road", "tree")
    assert numbers(found, 4) == [0, 1, 2, UNKNOWN]
    assert found.classes[254:].tolist() == [UNKNOWN, IGNORED]


@pytest.mark.parametrize("name", ["void", "Void", "UNLABELLED", "unlabeled", " ignore ", "Ignored"])
def test_classes_of_void_names_are_ignored_and_the_others_numbered_without_a_gap(name: str) -> None:
    found = values("sky", name, "road")
    assert found.class_names == ("sky", "road")
    assert numbers(found, 3) == [0, IGNORED, 1]


def test_the_ignore_index_of_the_metadata_is_ignored() -> None:
    found = values("background", "sky", "road", ignore_index=b"0")
    assert found.class_names == ("sky", "road")
    assert numbers(found, 4) == [IGNORED, 0, 1, UNKNOWN]
    beyond = values("sky", "road", ignore_index=b"9")
    assert numbers(beyond, 3) == [0, 1, UNKNOWN]
    assert beyond.classes[9] == beyond.classes[255] == IGNORED


@pytest.mark.parametrize("given", [b"256", b"-1", b"true", b"1.0", b'"1"', b"x", b""])
def test_an_ignore_index_that_is_none_is_refused(given: bytes) -> None:
    with pytest.raises(DataError, match=r"^set\.parquet: ignore_index in the schema metadata is b'.*; choices: 0 to"):
        values("sky", "road", ignore_index=given)


def test_fewer_than_2_or_too_many_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"^set\.parquet: masks need at least 2 classes that are not ignored; .*'void'"):
        values("sky", "void")
    assert len(values(*map(str, range(255))).class_names) == 255
    with pytest.raises(DataError, match=r"^set\.parquet: 256 class_names; a mask of 8 bits has room for 255"):
        values(*map(str, range(256)))


def test_of_a_palette_the_indices_count_and_of_one_bit_the_bits() -> None:
    indices = np.array([[0, 2, 1], [3, 1, 0]], np.uint8)
    palette = Image.fromarray(indices).convert("P")
    palette.putdata(indices.ravel().tolist())
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    small = saved(palette)
    assert small[24] < 8  # Pillow writes 2 bits for 4 colours
    bits = saved(Image.fromarray(indices > 1))
    with bounded():
        assert mask_pixels(small, 0).tolist() == indices.tolist()
        assert mask_pixels(saved(palette, bits=8), 0).tolist() == indices.tolist()
        assert mask_pixels(bits, 0).tolist() == (indices > 1).tolist()


@pytest.mark.parametrize("depth", [2, 4])
def test_gray_of_fewer_than_8_bits_is_refused_because_its_numbers_would_be_scaled(depth: int) -> None:
    mask = gray_png(depth, 8 // depth, 2, b"\x12\x21")
    with bounded(), pytest.raises(ImageError, match=rf"mask of mode L with {depth} bits a pixel; a mask is a PNG"):
        mask_pixels(mask, 0)


@pytest.mark.parametrize(("height", "width", "size"), [(7, 5, 7), (40, 30, 12), (9, 31, 24), (5, 5, 13), (3, 200, 8)])
def test_masks_are_scaled_to_their_nearest_pixels(height: int, width: int, size: int) -> None:
    classes = np.random.default_rng(0).integers(0, 4, (height, width)).astype(np.uint8)
    scaled = decode_masks([encode(classes)], size, values(*"abcd"), 0)[0]
    factor = size / max(height, width)
    rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
    for row in range(rows):
        for column in range(columns):
            nearest = classes[int((row + 0.5) * height / rows), int((column + 0.5) * width / columns)]
            assert scaled[row, column] == nearest
    assert (scaled[rows:] == IGNORED).all()
    assert (scaled[:, columns:] == IGNORED).all()


def test_ignored_values_are_255_and_classes_are_renumbered_when_masks_are_decoded() -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    assert decode_masks([encode(mask)], 2, values("sky", "void", "road"), 0)[0].tolist() == [[0, 255], [1, 255]]


IMAGE = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
MASK = np.arange(48, dtype=np.uint8).reshape(8, 6) % 3
CHANNEL = "a mask is a PNG of one 8-bit channel"
WRONG: dict[str, tuple[bytes | None, str]] = {
    "rgb": (encode(IMAGE), f"has a mask of mode RGB; {CHANNEL}"),
    "with transparency": (saved(Image.fromarray(MASK).convert("LA")), f"has a mask of mode LA; {CHANNEL}"),
    "16 bit": (saved(Image.fromarray(MASK.astype(np.uint16))), f"has a mask of mode I;16; {CHANNEL}"),
    "4 bit": (gray_png(4, 6, 8, bytes(24)), f"has a mask of mode L with 4 bits a pixel; {CHANNEL}"),
    "jpeg": (
        saved(Image.fromarray(MASK), "JPEG"),
        "has a mask that cannot be decoded (not an image); masks are PNGs",
    ),
    "truncated": (encode(MASK)[:-40], "has a mask that cannot be decoded (image file is truncated"),
    "empty": (b"", "has a mask that cannot be decoded (not an image); masks are PNGs"),
    "other size": (encode(MASK.T), "has 6 x 8 pixels, and its mask 8 x 6"),
    "unknown class": (encode(MASK * 2), "has a mask with the value 4, which is no class; choices: 0 to 2, 255"),
    "missing": (None, "has no mask"),
}


def asked(path: Path) -> tuple[int, str]:
    done = here("tune", EXPERIMENT, "--set", f"data.source=parquet:{path}", "--set", "data.labels=2", "--dry-run")
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("with_files", [True, False])
def test_a_mask_that_is_none_is_named(tmp_path: Path, case: str, with_files: bool) -> None:
    mask, message = WRONG[case]
    good = [Row(encode(IMAGE), 0, split, f"{split}.png", encode(MASK)) for split in ("train", "train", "test")]
    path = tmp_path / "set.parquet"
    rows = [*good, Row(encode(IMAGE), 0, "test", "bad.png", mask)]
    write(path, rows, "abc", "here", "none", with_files=with_files, with_masks=True)
    place = "bad.png: the image" if with_files else f"{path}: the image in row 3"
    code, said = asked(path)
    assert code == 2
    assert f"{place} {message}" in said


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_image_that_is_turned_by_its_metadata_is_named(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = saved(Image.fromarray(IMAGE), "JPEG", exif=exif)
    rows = [Row(image, 0, split, mask=encode(MASK)) for image in (encode(IMAGE), turned) for split in ("train", "test")]
    path = tmp_path / "set.parquet"
    write(path, rows, "abc", "here", "none", with_masks=True)
    code, said = asked(path)
    assert code == 2
    assert f"{path}: the image in row 2 is turned by its metadata, and its mask is not; save both upright" in said


def test_right_masks_are_planned_for(tmp_path: Path) -> None:
    rows = [Row(encode(IMAGE), 0, split, mask=encode(MASK)) for split in ("train", "train", "test")]
    rows.append(Row(encode(IMAGE), 0, "unlabelled"))  # which needs no mask
    path = tmp_path / "set.parquet"
    write(path, rows, "abc", "here", "none", with_masks=True)
    code, said = asked(path)
    assert (code, said) == (0, "")
