"""New SQLite databases of MLflow, which are either empty or whole, whoever is killed meanwhile."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory


def make_tables(path: Path) -> None:
    """Make MLflow's tables in a database that has none; its file and folder are made if need be.

    MLflow's migrations commit one by one. If one is interrupted, or two processes migrate at once, nothing can open the
    database again. So MLflow makes the tables in a temporary file, and they are copied in one transaction.
    Raises an error at once for a file that is no database: MLflow would retry for two minutes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        if _has_tables(database):
            return
        statements = _statements()
        database.execute("BEGIN IMMEDIATE")
        if not _has_tables(database):  # another process may have been first
            for statement in statements:
                database.execute(statement)
        database.execute("COMMIT")


def _has_tables(database: sqlite3.Connection) -> bool:
    database.execute("PRAGMA schema_version")
    return bool(database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall())


def _statements() -> list[str]:
    """Return the statements that make MLflow's tables, without its experiment "Default", which would stay empty."""
    from mlflow import MlflowClient

    with TemporaryDirectory(prefix="raysl-mlflow-") as folder:
        path = Path(folder) / "mlflow.db"
        MlflowClient(tracking_uri=f"sqlite:///{path}").delete_experiment("0")
        with closing(sqlite3.connect(path)) as made:
            _, *statements, _ = made.iterdump()  # without its BEGIN and COMMIT
    return statements
