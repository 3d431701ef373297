"""ISIC 2017, part 1: which images train, and their masks of two classes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mask_files import ISIC, isic_files, isic_masks, lay, saved
from PIL import Image

from raysl.data.registry import sets
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.storage.formats import bounded
from raysl.data.storage.masks import mask_pixels
from raysl.data.storage.parquet import read_batches, read_labels
from raysl.errors import DataError

MASKS = "ISIC-2017_Training_Part1_GroundTruth"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ISIC 2017 in a folder of sets."""
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    monkeypatch.setitem(sets.KNOWN, "isic2017_seg", dataclasses.replace(KNOWN["isic2017_seg"], num_train=3, num_test=2))
    lay(tmp_path, isic_files())
    return tmp_path


def test_lesions_are_class_1_and_superpixels_are_left_out(given: Path) -> None:
    path = locate("isic2017_seg")
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    assert [row["split"] for row in rows] == ["train"] * 3 + ["test"] * 2
    names = [(split, name) for split in ISIC for name in ISIC[split]]
    with bounded():
        for (split, name), row in zip(names, rows, strict=True):
            assert row["image"] == isic_files()[f"ISIC-2017_{split}_Data/ISIC_{name}.jpg"]
            assert mask_pixels(row["mask"], 0).tolist() == (isic_masks()[name] == 255).astype(int).tolist()
    assert read_labels(path).class_names == ("skin", "lesion")


def test_masks_may_be_spelled_as_in_the_description(given: Path) -> None:
    before = [row for batch in read_batches(locate("isic2017_seg")) for row in batch.to_pylist()]
    (given / "isic2017_seg.parquet").unlink()
    for file in (given / MASKS).iterdir():
        file.rename(file.with_name(file.name.replace("_segmentation", "_Segmentation")))
    assert [row for batch in read_batches(locate("isic2017_seg")) for row in batch.to_pylist()] == before


def test_other_values_and_missing_masks_are_named(given: Path) -> None:
    file = given / MASKS / "ISIC_0000003_segmentation.png"
    file.write_bytes(saved(Image.fromarray(np.full((32, 24), 128, np.uint8))))
    with pytest.raises(
        DataError, match=rf"{file}: the mask has the value 128, which is not 0 \(skin\) or 255 \(lesion"
    ):
        locate("isic2017_seg")
    file.unlink()
    with pytest.raises(DataError, match=rf"{given}/{MASKS}: {file.name} is not there"):
        locate("isic2017_seg")
