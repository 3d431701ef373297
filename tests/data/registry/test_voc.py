"""Pascal VOC 2012 with SBD: which images train, and which mask each has."""

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from mask_files import SBD, VOC, lay, matlab, palette, voc_files, voc_masks
from scipy.io import savemat

from raysl.data.registry import sets
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.settings import DataSettings
from raysl.data.storage.formats import bounded
from raysl.data.storage.masks import mask_pixels
from raysl.data.storage.parquet import image_place, read_batches
from raysl.data.storage.scan import inspect
from raysl.errors import DataError


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VOC and SBD in a folder of sets."""
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    monkeypatch.setitem(sets.KNOWN, "voc2012_seg", dataclasses.replace(KNOWN["voc2012_seg"], num_train=5, num_test=2))
    lay(tmp_path, voc_files())
    return tmp_path


def test_both_sets_train_without_val_and_an_image_of_both_has_the_mask_of_voc(given: Path) -> None:
    path = locate("voc2012_seg")
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    assert [row["split"] for row in rows] == ["train"] * 5 + ["test"] * 2
    files, masks = voc_files(), voc_masks()
    with bounded():
        for name, row in zip("abcdevw", rows, strict=True):
            assert row["image"] == files[f"{VOC}/JPEGImages/{name}.jpg"]
            assert mask_pixels(row["mask"], 0).tolist() == masks[name].tolist()
            if name in "abvw":  # as they are, palette and void included
                assert row["mask"] == files[f"{VOC}/SegmentationClass/{name}.png"]
    assert image_place(path, 2) == f"{given}/{VOC}/JPEGImages/c.jpg: the image"
    facts = inspect(DataSettings(source="voc2012_seg", image_size=32))
    assert (facts.num_train, facts.num_test, facts.class_names[20], facts.image_size) == (5, 2, "tvmonitor", None)


def of_arrays(**arrays: object) -> bytes:
    buffer = BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", r"no MATLAB file with GTcls.Segmentation"),
        (b"no matlab", r"no MATLAB file with GTcls.Segmentation"),
        (of_arrays(Other=np.zeros((3, 3), np.uint8)), r"no MATLAB file with GTcls.Segmentation \(KeyError\)"),
        (matlab(np.zeros((24, 32), np.uint8))[:-20], r"no MATLAB file with GTcls.Segmentation"),
        (matlab(np.zeros((24, 32))), r"GTcls.Segmentation holds float64 \[24, 32\], not uint8 \[H, W\]"),
        (matlab(np.zeros((3, 24, 32), np.uint8)), r"GTcls.Segmentation holds uint8 \[3, 24, 32\], not uint8 \[H, W\]"),
    ],
)
def test_masks_of_sbd_that_are_none_are_named(given: Path, content: bytes, wrong: str) -> None:
    (given / SBD / "cls/d.mat").write_bytes(content)
    with pytest.raises(DataError, match=rf"voc2012_seg cannot be made .*: {given}/{SBD}/cls/d\.mat: {wrong}"):
        locate("voc2012_seg")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (f"{VOC}/JPEGImages/e.jpg", f"{VOC}: JPEGImages/e.jpg is not there"),
        (f"{VOC}/SegmentationClass/v.png", f"{VOC}: SegmentationClass/v.png is not there"),
        (f"{SBD}/cls/c.mat", f"{SBD}: cls/c.mat is not there"),
        (f"{VOC}/ImageSets/Segmentation/val.txt", f"{VOC}: ImageSets/Segmentation/val.txt is not there"),
    ],
)
def test_missing_files_are_named(given: Path, lost: str, message: str) -> None:
    (given / lost).unlink()
    with pytest.raises(DataError, match=f"{given}/{message}"):
        locate("voc2012_seg")


def test_a_mask_of_another_size_than_its_image_is_named(given: Path) -> None:
    (given / SBD / "cls/c.mat").write_bytes(matlab(np.zeros((4, 4), np.uint8)))
    (given / VOC / "SegmentationClass/v.png").write_bytes(palette(np.full(voc_masks()["v"].shape, 21, np.uint8)))
    with pytest.raises(DataError, match=rf"{VOC}/JPEGImages/c\.jpg: the image has .* pixels, and its mask 4 x 4"):
        inspect(DataSettings(source="voc2012_seg"))


def test_names_in_lists_lead_nowhere_else(given: Path) -> None:
    lay(given, {"elsewhere.jpg": b"", f"{VOC}/ImageSets/Segmentation/train.txt": b"a\n../../../elsewhere\n"})
    with pytest.raises(DataError, match=r"\.\./elsewhere\.\w+ is not there"):
        locate("voc2012_seg")
