"""A search that finds no room, or may not write: a message, nothing corrupt, and the same tables afterwards."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import SmallDisk, small_disk
from tiny import ONE_PROCESS, Finished, here, inline, raysl, runs_by_kind, start, tables_of, write
from waiting import PATIENCE, wait_for

from raysl.results.records.rows import read_rows
from raysl.results.storage.checkpoint_checksums import is_whole
from raysl.results.storage.store import Store

pytestmark = pytest.mark.usefixtures("tracked")

NO_ROOM = "No space left on device"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 64) as mounted:
        yield mounted


def assert_equal(results: Path, reference: Path) -> None:
    assert tables_of(results) == tables_of(reference)
    assert runs_by_kind(results) == runs_by_kind(reference)


def assert_whole(results: Path) -> None:
    """Nothing half-written lies there, and what is there can be read."""
    assert not list(results.rglob("*.tmp"))
    store = Store.open(str(results), create=False)
    rows = read_rows(store)
    assert [f"{name}.parquet" for name in rows] == store.list("rows", "")
    assert all(is_whole(store, f"{kind}/{name}") for kind in ("models", "checkpoints") for name in store.list(kind, ""))


@pytest.mark.parametrize(("what", "message"), [("full", NO_ROOM), ("read-only", "Read-only file system")])
def test_a_folder_that_cannot_be_written_ends_the_search_before_it_begins(
    disk: SmallDisk, tmp_path: Path, what: str, message: str
) -> None:
    if what == "full":
        disk.fill()
    else:
        disk.seal()
    done = here("tune", write(tmp_path), "--results", disk.folder / "results")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr == f"error: results folder {disk.folder}/results: {message}\n"
    assert "starting Ray" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["", "data"])
def test_a_cache_without_room_is_named(
    disk: SmallDisk, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """kept: what is in it already."""
    file = write(tmp_path)
    if kept:
        assert here("tune", file, "--dry-run").returncode == 0
        shutil.copytree(cache / kept, disk.folder / "cache" / kept)
    disk.fill()
    monkeypatch.setenv("RAYSL_CACHE", str(disk.folder / "cache"))
    done = raysl("tune", file, "--results", tmp_path / "results")
    assert done.returncode == 2, done.stdout + done.stderr
    assert NO_ROOM in done.stderr
    assert "RAYSL_CACHE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.alike
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["checkpoint", "row", "model"])
def test_a_disk_that_fills_in_mid_search_loses_nothing(undisturbed: Finished, disk: SmallDisk, moment: str) -> None:
    file, reference, _ = undisturbed
    results = disk.folder / "results"
    with start(file, results, *ONE_PROCESS) as driver:
        folders = {"checkpoint": "checkpoints", "row": "rows", "model": "models"}
        wait_for(moment, lambda: list((results / folders[moment]).glob("[!.]*")) or driver.poll() is not None)
        assert driver.poll() is None, driver.communicate()
        disk.fill()
        printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, printed
    assert NO_ROOM in printed
    assert "the same command goes on from here" in printed
    assert "Traceback" not in printed
    assert_whole(results)
    rows = {path.name: path.read_bytes() for path in (results / "rows").glob("*")}
    shown = raysl("show", results)
    assert shown.returncode == 0, shown.stderr
    disk.empty()
    again = inline("tune", file, "--results", results)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {name: (results / "rows" / name).read_bytes() for name in rows} == rows
    assert_whole(results)
    assert_equal(results, reference)


@pytest.mark.slow
def test_a_read_only_folder_can_be_shown(undisturbed: Finished, disk: SmallDisk) -> None:
    _, reference, _ = undisturbed
    results = disk.folder / "results"
    shutil.copytree(reference, results)
    disk.seal()
    left, right = (raysl("show", folder, "--format", "csv") for folder in (results, reference))
    assert (left.returncode, left.stdout) == (0, right.stdout)
    assert left.stderr == ""
