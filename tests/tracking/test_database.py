import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from raysl.tracking import database
from raysl.tracking.connection import StoreError, connected


def tables(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as opened:
        # Not their SQL: MLflow writes constraints in an order of its own each time.
        return opened.execute("SELECT type, name FROM sqlite_master ORDER BY type, name").fetchall()


KILLED = """
import os, signal, sys
from pathlib import Path
from raysl.tracking import database

def half(make=database._statements):
    statements = make()
    yield from statements[: len(statements) // 2]
    os.kill(os.getpid(), signal.SIGKILL)

database._statements = half
database.make_tables(Path(sys.argv[1]))
"""


def test_a_process_that_is_killed_meanwhile_leaves_no_table(empty_database: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.exists()
    assert tables(path) == []
    with connected(f"sqlite:///{path}") as client:
        assert client.search_experiments() == []
    assert tables(path) == tables(empty_database)


def test_another_process_may_be_first(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    make = database._statements

    def first() -> list[str]:
        shutil.copy(empty_database, path)
        with connected(f"sqlite:///{path}") as client:
            client.create_experiment("of the other process")
        return make()

    monkeypatch.setattr(database, "_statements", first)
    with connected(f"sqlite:///{path}") as client:
        assert "of the other process" in [one.name for one in client.search_experiments()]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["DELETE FROM alembic_version", "DROP TABLE params"], "duplicate column name"),  # killed while it was made
        (["UPDATE alembic_version SET version_num = 'none'"], "out-of-date database schema"),
        (["UPDATE alembic_version SET version_num = 'none'", "DROP TABLE params"], "Can't locate revision"),
    ],
)
def test_a_database_that_this_mlflow_cannot_open_says_what_to_do(
    uri: str, tmp_path: Path, changes: list[str], why: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as opened, opened:
        for change in changes:
            opened.execute(change)
    with pytest.raises(StoreError, match=f"mlflow.db: .*{why}.*; if no other .* move it away"), connected(uri):
        pass
