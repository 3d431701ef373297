"""A results folder on a disk that is full, or read-only."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_disk import BALLAST, SmallDisk, small_disk

from raysl.errors import ResultsError
from raysl.results import read
from raysl.results.records.rows import TrialRow, read_row, write_row
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, publish

NO_ROOM = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 2) as mounted:
        yield mounted


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != BALLAST)


def test_a_full_disk_is_named_before_anything_begins(disk: SmallDisk) -> None:
    """An empty file could still be made there."""
    disk.fill()
    (disk.folder / "empty").touch()
    with pytest.raises(ResultsError, match=f"^results folder {disk.folder}/results: {NO_ROOM}"):
        Store.open(f"{disk.folder}/results", create=True)
    assert names(disk.folder) == ["empty"]


def test_what_finds_no_room_leaves_what_was_there(
    disk: SmallDisk, make_row: Callable[..., TrialRow], edited: Tables
) -> None:
    store = Store.open(str(disk.folder / "results"), create=True)
    write_row(store, make_row())
    publish(store, edited)
    before = {name: store.read(name) for name in ("rows/t0.parquet", "trials.arrow", "trials.parquet")}
    disk.fill(leave=8192)
    for changed in (
        lambda: write_row(store, make_row(spec="x" * 100_000)),
        lambda: store.write("models/a.pt", bytes(100_000)),
        lambda: store.write_pieces("data/a", [bytes(4000)] * 100),
        lambda: publish(store, edited.current()),
        lambda: store.create("b", bytes(100_000)),
    ):
        with pytest.raises(ResultsError, match=NO_ROOM):
            changed()
    assert not [name for name in names(disk.folder) if name.endswith(".tmp")]
    assert {name: store.read(name) for name in before} == before
    assert read_row(store, "t0") == make_row()
    disk.empty()
    publish(store, edited.current())
    assert read(store.uri).trials.num_rows == edited.current().trials.num_rows


def test_a_read_only_folder_is_named_and_can_be_read(disk: SmallDisk, make_row: Callable[..., TrialRow]) -> None:
    folder = str(disk.folder / "results")
    write_row(Store.open(folder, create=True), make_row())
    disk.seal()
    with pytest.raises(ResultsError, match=f"^results folder {folder}: Read-only file system"):
        Store.open(folder, create=True)
    store = Store.open(folder, create=False)
    assert read_row(store, "t0") == make_row()
    with pytest.raises(ResultsError, match=r"rows/t0.parquet: Read-only file system"):
        write_row(store, make_row(seed=1))
    with pytest.raises(ResultsError, match=r"rows/t0.parquet: .*Read-only file system"):
        store.delete("rows/t0.parquet")
