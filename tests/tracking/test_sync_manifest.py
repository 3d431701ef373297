"""A tracking store is left alone only where it surely holds what the results folder does."""

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from raysl.results.records.rows import write_row
from raysl.results.records.stages import write_stage
from raysl.results.storage.store import Store
from raysl.search.summary import curves_of, summarise_store
from raysl.tracking import Tracker
from raysl.tracking.facts import RunFacts
from raysl.tracking.sync_manifest import Tracked, read_target, write_target
from raysl.tracking.uri import default_uri

FOLDER = "f01dacc0"


@pytest.fixture
def store(tmp_path: Path, search: Any) -> Store:
    """The search's first trial, in a results folder."""
    store = Store.open(str(tmp_path / "results"), create=True)
    search.end(0)
    write_stage(store, search.stage)
    for row in search.rows.values():
        write_row(store, row)
    settle(store)
    return store


def settle(store: Store) -> None:
    at = time.time_ns() - 10 * 10**9
    for path in Path(store.uri).rglob("*.*"):
        os.utime(path, ns=(at, at))


def database(tmp_path: Path) -> str:
    path = tmp_path / "some.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (name TEXT)")
    connection.close()
    time.sleep(0.1)
    return f"sqlite:///{path}"


def noted(store: Store, uri: str) -> Tracked:
    tracked = Tracked(store, uri)
    assert not tracked.is_up_to_date()
    tracked.note()
    assert Tracked(store, uri).is_up_to_date()
    return tracked


def test_a_new_row_makes_it_out_of_date(store: Store, tmp_path: Path, search: Any) -> None:
    uri = database(tmp_path)
    noted(store, uri)
    search.end(1)
    write_row(store, search.rows[search.stage.members[1].trial_id])
    assert not Tracked(store, uri).is_up_to_date()
    settle(store)
    assert not Tracked(store, uri).is_up_to_date()


def test_whoever_writes_into_the_database_makes_it_out_of_date(store: Store, tmp_path: Path) -> None:
    uri = database(tmp_path)
    noted(store, uri)
    with sqlite3.connect(tmp_path / "some.db") as connection:
        connection.execute("DELETE FROM runs")
        connection.execute("INSERT INTO runs VALUES ('other')")
    connection.close()
    time.sleep(0.1)
    assert not Tracked(store, uri).is_up_to_date()


def test_a_database_that_is_being_written_is_not_trusted(store: Store, tmp_path: Path) -> None:
    uri = database(tmp_path)
    noted(store, uri)
    for suffix in ("-journal", "-wal"):
        beside = tmp_path / f"some.db{suffix}"
        beside.touch()
        assert not Tracked(store, uri).is_up_to_date()
        beside.unlink()
    assert Tracked(store, uri).is_up_to_date()
    (tmp_path / "some.db").unlink()
    assert not Tracked(store, uri).is_up_to_date()


def test_another_store_and_a_server_are_asked(store: Store, tmp_path: Path) -> None:
    uri = database(tmp_path)
    noted(store, uri)
    shutil.copy2(tmp_path / "some.db", tmp_path / "other.db")
    assert not Tracked(store, f"sqlite:///{tmp_path}/other.db").is_up_to_date()
    server = Tracked(store, "http://127.0.0.1:9")
    assert not server.is_up_to_date()
    server.note()
    assert not server.is_up_to_date()


def test_a_change_during_the_sync_is_not_taken_for_synced(store: Store, tmp_path: Path, search: Any) -> None:
    uri = database(tmp_path)
    tracked = Tracked(store, uri)
    assert not tracked.is_up_to_date()
    search.end(1)
    write_row(store, search.rows[search.stage.members[1].trial_id])
    settle(store)
    tracked.note()
    assert not Tracked(store, uri).is_up_to_date()


def test_what_was_synced_is_not_synced_again_until_something_changes(
    store: Store, uri: str, search: Any, logged: Any
) -> None:
    syncs = []

    def snapshot() -> Any:
        syncs.append(1)
        return summarise_store(store, curves=False)

    def curves(run: RunFacts) -> Any:
        return curves_of(store, run.stage_id, run.tags["raysl.trial_id"])

    def track() -> None:
        status = Tracker(uri, snapshot, FOLDER, curves=curves, tracked=Tracked(store, uri)).close()
        assert status.tracked, status

    track()
    first = logged(uri)
    [trial] = [run for run in first.values() if run.tags["raysl.kind"] == "trial"]
    assert len(trial.history["loss/total"]) == search.num_epochs
    track()
    assert len(syncs) == 1
    assert logged(uri) == first
    search.end(1)
    write_row(store, search.rows[search.stage.members[1].trial_id])
    settle(store)
    track()
    assert len(syncs) == 2
    assert len(logged(uri)) == len(first) + 1


def test_a_folder_remembers_where_it_was_synced_to(store: Store, tmp_path: Path) -> None:
    assert read_target(store) is None
    write_target(store, "https://alice:s3cretpw@host/x")
    assert read_target(store) == "https://***@host/x"
    assert "s3cretpw" not in (tmp_path / "results/tracked/last.json").read_text()
    write_target(store, default_uri(store))
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "results", moved)
    assert read_target(Store.open(str(moved), create=False)) == f"sqlite:///{moved}/mlflow.db"
