"""MLflow's database on a disk without room: a warning, a search that goes on, and a database that is whole later."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_disk import SmallDisk, small_disk

from raysl.tracking import Tracker

FOLDER = "f01dacc0"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 8) as mounted:
        yield mounted


@pytest.mark.slow
@pytest.mark.parametrize("begun", [True, False])
def test_a_database_that_finds_no_room_catches_up(
    disk: SmallDisk, search: Any, logged: Callable[..., dict[str, Any]], begun: bool
) -> None:
    uri = f"sqlite:///{disk.folder}/mlflow.db"
    if begun:
        search.end(0)
        Tracker(uri, search.tables, FOLDER).close()
    search.end_all()
    disk.fill()
    status = Tracker(uri, search.tables, FOLDER).close()
    assert not status.tracked
    assert "full" in status.reason or "disk I/O error" in status.reason
    disk.empty()
    if begun:
        with closing(sqlite3.connect(disk.folder / "mlflow.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert Tracker(uri, search.tables, FOLDER).close().tracked
    assert len(logged(uri)) == 1 + 3 + 15
