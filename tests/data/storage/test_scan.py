"""Facts of a set, and the trial data that they allow."""

import os
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from raysl.data.settings import DECODING, DataSettings
from raysl.data.storage import scan as inspecting
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row
from raysl.data.storage.scan import DataFacts, inspect, resolve
from raysl.errors import DataError

FACTS = DataFacts(
    path=Path("set.parquet"),
    digest="0" * 32,
    class_names=("a", "b"),
    class_counts=(30_000, 30_000),
    num_train=60_000,
    num_unlabelled=60_000,
    num_test=10,
    image_size=28,
    channels=1,
)


def pictures(*shapes: tuple[int, ...]) -> list[Row]:
    return [Row(encode(np.zeros(shape, np.uint8)), number % 2, "train") for number, shape in enumerate(shapes)]


def test_digits() -> None:
    facts = inspect(DataSettings())
    assert (facts.num_train, facts.num_unlabelled, facts.num_test) == (1297, 1297, 500)
    assert (facts.image_size, facts.channels, len(facts.class_names)) == (8, 1, 10)
    assert max(facts.class_counts) - min(facts.class_counts) < 8
    # Part of every trial's name: results of earlier versions are found again only while this stays.
    assert facts.digest == "2252c3b28dc0f9c9f1b02d692d0e883a"
    data = resolve(DataSettings(), facts)
    assert (data.labels, data.unlabelled, data.num_classes) == (12, 1297, 10)  # 1 % of 1297, cut to whole hundreds
    assert (data.image_size, data.channels, data.digest) == (8, 1, facts.digest)


def test_an_unlabelled_split_is_the_pool_of_d_u(make_set: Callable[..., Path]) -> None:
    source = f"parquet:{make_set(train=40, test=20, unlabelled=30)}"
    facts = inspect(DataSettings(source=source))
    assert (facts.num_train, facts.num_unlabelled, facts.num_test) == (40, 30, 20)
    half = inspect(DataSettings(source=source, train_fraction=0.5))
    assert (half.num_train, half.num_unlabelled, half.num_test) == (30, 30, 30)
    assert sum(half.class_counts) == 30
    assert half.digest == facts.digest


@pytest.mark.parametrize(
    ("shapes", "size", "channels"),
    [
        ([(9, 9), (9, 9)], 9, 1),
        ([(9, 9), (9, 9, 3)], 9, 3),
        ([(9, 9), (8, 8)], None, 1),
        ([(9, 8), (9, 8)], None, 1),
        ([(9, 9)] * 3000 + [(10, 10, 3)], None, 3),
    ],
)
def test_sizes_and_channels_are_those_of_all_images(
    make_set: Callable[..., Path], shapes: list[tuple[int, ...]], size: int | None, channels: int
) -> None:
    facts = inspect(DataSettings(source=f"parquet:{make_set(rows=pictures(*shapes))}"))
    assert (facts.image_size, facts.channels) == (size, channels)


def test_a_file_is_scanned_once(make_set: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_set()
    settings = DataSettings(source=f"parquet:{path}")
    scans = []
    scan = inspecting._scan
    monkeypatch.setattr(inspecting, "_scan", lambda *arguments: scans.append(1) or scan(*arguments))
    facts = inspect(settings)
    assert inspect(settings) == facts
    assert len(scans) == 1
    (kept,) = (cache / "scans").glob("*.json")
    kept.write_text('{"digest"')
    assert inspect(settings) == facts
    assert len(scans) == 2
    make_set(train=41)  # in its place
    assert inspect(settings).digest != facts.digest
    assert len(scans) == 3


@pytest.mark.parametrize("in_place", [True, False])
def test_another_file_of_equal_size_and_time_is_scanned(make_set: Callable[..., Path], in_place: bool) -> None:
    path = make_set()
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    table = pq.read_table(path)
    pq.write_table(table, path, **plain)
    stat = path.stat()
    facts = inspect(DataSettings(source=f"parquet:{path}"))
    other = path.with_name("other.parquet")
    pq.write_table(table.take(np.arange(len(table))[::-1].copy()), other, **plain)
    if in_place:
        path.write_bytes(other.read_bytes())
    else:
        other.replace(path)
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert inspect(DataSettings(source=f"parquet:{path}")).digest != facts.digest


def test_a_scan_is_used_from_a_cache_that_can_only_be_read(
    make_set: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise DataError("read-only")

    settings = DataSettings(source=f"parquet:{make_set()}")
    facts = inspect(settings)
    monkeypatch.setattr(inspecting, "exclusive", refused)
    assert inspect(settings) == facts


def test_a_moved_file_keeps_its_digest(make_set: Callable[..., Path]) -> None:
    path = make_set()
    facts = inspect(DataSettings(source=f"parquet:{path}"))
    moved = path.rename(path.with_name("moved.parquet"))
    assert inspect(DataSettings(source=f"parquet:{moved}")).digest == facts.digest


def test_an_image_that_is_none_is_named(make_set: Callable[..., Path]) -> None:
    path = make_set(rows=[*pictures(*[(8, 8)] * 1500), Row(b"text", 0, "train")])
    with pytest.raises(DataError, match="row 1500 cannot be decoded") as caught:
        inspect(DataSettings(source=f"parquet:{path}"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "num_unlabelled", "expected"),
    [
        (0.01, 100_000, 1000),
        (0.05, 100_000, 5000),
        (0.01, 60_000, 600),
        (0.05, 60_000, 3000),
        (0.01, 13_779, 137),
        (0.05, 13_779, 685),  # as the paper prints it: 5 x 137
        (0.29, 1000, 290),  # 0.29 * 100 is just under 29 in floats
        (0.005, 13_779, 68),
        (0.015, 60_000, 900),
        (4000, 60_000, 4000),
    ],
)
def test_label_fractions_are_of_the_unlabelled_images(labels: float, num_unlabelled: int, expected: int) -> None:
    facts = replace(FACTS, num_unlabelled=num_unlabelled)
    assert resolve(DataSettings(labels=labels), facts).labels == expected
    if num_unlabelled == 60_000:
        twice = replace(FACTS, num_unlabelled=2 * num_unlabelled)
        assert resolve(DataSettings(labels=labels, unlabelled=num_unlabelled), twice).labels == expected


@pytest.mark.parametrize(
    ("settings", "facts", "message"),
    [
        ({"labels": 60_001}, {}, "data.labels: 60001 is more than the 60000"),
        (
            {"labels": 0.5},
            {"num_unlabelled": 200_000},
            r"0.5 of 200000 unlabelled images \(50 x floor\(200000 / 100\) = 100000\)",
        ),
        ({"labels": 1}, {}, "data.labels: 1 is less than one for each of the 2 classes"),
        ({"labels": 0.01}, {"num_unlabelled": 99}, r"\(1 x floor\(99 / 100\) = 0\) is less than one for each"),
        ({"labels": 0.005}, {"num_unlabelled": 199}, r"\(floor\(0.005 x 199\) = 0\) is less than one for each"),
        ({"labels": 9}, {"class_counts": (4, 100)}, "class 'a' has 4 training images; at most 9"),
        (
            {"labels": 10},
            {"class_counts": (4, 100)},
            "class 'a' has 4 training images; at most 9, or data.draw uniform",
        ),
        ({"labels": 3}, {"class_counts": (1, 1)}, "at most 2"),
        ({"unlabelled": 60_001}, {}, "data.unlabelled: 60001 is more than the 60000"),
        ({}, {"num_test": 0}, "no test images; data.train_fraction"),
        ({}, {"image_size": None}, "data.image_size: not given"),
    ],
)
def test_what_a_set_cannot_give_is_refused(settings: dict[str, Any], facts: dict[str, Any], message: str) -> None:
    changed = replace(FACTS, **facts)
    if message.endswith("at most 9"):
        assert resolve(DataSettings(**settings), changed).labels == 9  # 4 and 5
        return
    with pytest.raises(DataError, match=message):
        resolve(DataSettings(**settings), changed)


def test_uneven_classes_can_be_drawn_from_uniformly() -> None:
    uneven = replace(FACTS, class_counts=(4, 59_996))
    assert resolve(DataSettings(labels=600, draw="uniform"), uneven).labels == 600


def test_all_labels_are_the_same_however_they_are_said_to_be_drawn() -> None:
    uneven = replace(FACTS, class_counts=(4, 59_996), num_unlabelled=100_000)
    drawn = [resolve(DataSettings(labels="all", draw=draw), uneven) for draw in ("balanced", "uniform")]
    assert drawn[0] == drawn[1]
    assert (drawn[0].labels, drawn[0].draw) == (60_000, "uniform")
    assert drawn[0] == resolve(DataSettings(labels=60_000, draw="uniform"), uneven)
    with pytest.raises(DataError, match=r"data.labels: all \(1 labelled training images\) is less than one for each"):
        resolve(DataSettings(labels="all"), replace(FACTS, num_train=1))


@pytest.mark.parametrize("labels", ["many", 0, 1.5, -0.1, True])
def test_labels_that_are_none_are_named_in_one_message(labels: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        DataSettings(labels=labels)
    (finding,) = caught.value.errors()
    assert finding["loc"] == ("labels",)
    assert finding["msg"].endswith("must be a count from 1 on, a fraction between 0 and 1, or all")


def test_paths_hold_in_any_folder(make_set: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_set()
    monkeypatch.chdir(path.parent)
    settings = DataSettings(source="parquet:small.parquet", labels=4)
    assert resolve(settings, inspect(settings)).source == f"parquet:{path}"
    monkeypatch.setenv("HOME", os.fspath(path.parent))
    assert resolve(DataSettings(source="folder:~/images"), FACTS).source == f"folder:{path.parent}/images"


def test_given_sizes_and_channels_are_kept() -> None:
    data = resolve(DataSettings(image_size=96, channels=3, train_fraction=0.5), replace(FACTS, image_size=None))
    assert (data.image_size, data.channels, data.train_fraction) == (96, 3, 0.5)


@pytest.mark.parametrize("harm", ["none", "transparent", "turned"])
def test_sets_with_images_that_are_altered_are_told_from_the_trials_of_earlier_versions(
    make_set: Callable[..., Path], harm: str
) -> None:
    picture, buffer = Image.fromarray(np.zeros((8, 8), np.uint8)), BytesIO()
    if harm == "transparent":
        picture.putalpha(9)
    exif = Image.Exif()
    exif[0x0112] = 6 if harm == "turned" else 1
    picture.save(buffer, "PNG", exif=exif)
    rows = [*pictures(*[(8, 8)] * 4), Row(buffer.getvalue(), 0, "test")]
    settings = DataSettings(source=f"parquet:{make_set(rows=rows)}", labels=2)
    data = resolve(settings, inspect(settings))
    assert data.decoding == (None if harm == "none" else DECODING)
    assert ("decoding" in data.model_dump_json(exclude_none=True)) == (harm != "none")  # and so in a trial's name
