"""CityScapes: the classes of the ids, and which images train."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mask_files import cityscapes_files, cityscapes_masks, lay, saved
from PIL import Image
from torchvision.datasets import Cityscapes

from raysl.data.registry import sets
from raysl.data.registry.cityscapes import CLASSES, TRAIN_IDS
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.storage.formats import bounded
from raysl.data.storage.masks import mask_pixels
from raysl.data.storage.parquet import read_batches
from raysl.errors import DataError

NAMES = ("train/aachen/aachen_000000_000019", "train/ulm/ulm_000001_000019", "val/lindau/lindau_000000_000019")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CityScapes in a folder of sets."""
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    known = dataclasses.replace(KNOWN["cityscapes_seg"], num_train=2, num_test=1)
    monkeypatch.setitem(sets.KNOWN, "cityscapes_seg", known)
    lay(tmp_path, cityscapes_files())
    return tmp_path


def test_classes_are_those_that_torchvision_evaluates() -> None:
    official = [known for known in Cityscapes.classes if known.id >= 0]
    assert {known.id: known.train_id for known in official} | {255: 255} == TRAIN_IDS
    evaluated = sorted((known.train_id, known.name) for known in official if not known.ignore_in_eval)
    assert list(CLASSES) == [name for _, name in evaluated]


def test_train_trains_val_tests_and_ids_become_classes(given: Path) -> None:
    rows = [row for batch in read_batches(locate("cityscapes_seg")) for row in batch.to_pylist()]
    assert [row["split"] for row in rows] == ["train", "train", "test"]
    table = {known.id: known.train_id for known in Cityscapes.classes}
    with bounded():
        for name, row in zip(NAMES, rows, strict=True):
            assert row["image"] == cityscapes_files()[f"leftImg8bit/{name}_leftImg8bit.png"]
            ids = cityscapes_masks()[name]
            assert mask_pixels(row["mask"], 0).tolist() == [[table[number] for number in line] for line in ids.tolist()]


def test_a_folder_named_cityscapes_may_hold_both(given: Path) -> None:
    (given / "cityscapes").mkdir()
    for name in ("leftImg8bit", "gtFine"):
        (given / name).rename(given / "cityscapes" / name)
    assert len(list(read_batches(locate("cityscapes_seg")))) == 1


def test_other_ids_and_missing_labels_are_named(given: Path) -> None:
    file = given / f"gtFine/{NAMES[1]}_gtFine_labelIds.png"
    file.write_bytes(saved(Image.fromarray(np.full((16, 32), 34, np.uint8))))
    with pytest.raises(DataError, match=rf"{file}: the mask has the value 34, which is not an id of CityScapes"):
        locate("cityscapes_seg")
    file.write_bytes(saved(Image.fromarray(np.zeros((16, 32, 3), np.uint8))))
    with pytest.raises(DataError, match=rf"{file}: the image has a mask of mode RGB"):
        locate("cityscapes_seg")
    file.unlink()
    with pytest.raises(DataError, match=rf"{given}/gtFine: train/ulm/{file.name} is not there"):
        locate("cityscapes_seg")
