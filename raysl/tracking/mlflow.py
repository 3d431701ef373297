"""Writes the runs of the result tables to MLflow; a second sync of the same tables writes nothing.

Every run has the tag `raysl.id`, by which it is found again. It begins with the results folder's own id, so that
folders can share a server. A completely written run also has `raysl.digest`, the digest of what was written. Logged
points have their times and steps from the tables, and MLflow stores a repeated point once: a run that was half written
when its writer was killed is simply written again.
"""

import configparser
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raysl.errors import UserError
from raysl.outgoing import learn, mask
from raysl.results.tables.build import Tables
from raysl.tracking.facts import RunFacts
from raysl.tracking.run_writer import RunWriter
from raysl.tracking.stage_runs import run_facts, superseded
from raysl.tracking.uri import sqlite_path, validate_uri, without_password
from raysl.tracking.view_writer import write_views

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A request that is repeated after a timeout can create a run twice; the next sync looks for the run first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_LOGGERS = ("mlflow", "alembic", "sqlalchemy", "sqlalchemy.engine", "urllib3.connectionpool")


@dataclass(frozen=True)
class SyncReport:
    """How many runs (stages, configs and trials) a sync created, changed and found up to date."""

    created: int
    updated: int
    unchanged: int


class TrackingError(UserError):
    """A tracking store that could not be written; `missing` runs are not up to date in it."""

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


def sync(
    tables: Tables,
    uri: str,
    folder_id: str,
    curves: Callable[[RunFacts], pa.Table] | None = None,
    folder: str = "",
) -> SyncReport:
    """Bring MLflow up to date with the current stages: a run per stage, config and trial, each nested in the one above.

    Runs of superseded stages are tagged `raysl.current` = `false`; each experiment gets views that compare its runs.
    folder_id: of the tables' results folder; runs of other folders are left alone.
    curves: returns the rows of the table of curves of a trial; None takes `tables.curves`.
    folder: the results folder's address, for the descriptions of runs.
    Sets MLflow's environment variables for short timeouts, no retries and no telemetry if they are unset.
    Raises UserError for a URI that MLflow cannot take, TrackingError if the store cannot be reached or written.
    """
    validate_uri(uri)
    _learn_credentials()
    facts = run_facts(tables, folder)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    outcomes: Counter[str] = Counter()
    try:
        with _quiet():
            _check_sqlite(uri)
            client = MlflowClient(tracking_uri=uri)
            writer = RunWriter(client, uri, folder_id, facts, curves or (lambda run: tables.curves))
            for run in facts:
                outcomes[writer.write(run)] += 1
            for experiment, stages in superseded(tables).items():
                for stage_id in sorted(stages):
                    writer.set_aside(experiment, stage_id)
            write_views(client, folder_id, facts)
    except (MlflowException, SQLAlchemyError, OSError, sqlite3.Error) as error:
        missing = len(facts) - outcomes.total()
        # `from None`: the error's text holds the address, with its password.
        raise TrackingError(f"MLflow at {without_password(uri)}: {_reason(error)}", missing) from None
    return SyncReport(outcomes["created"], outcomes["updated"], outcomes["unchanged"])


def _check_sqlite(uri: str) -> None:
    """Raise an error at once for a file that is no database: MLflow would retry for two minutes."""
    if path := sqlite_path(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version")


def _learn_credentials() -> None:
    """Mask the password that MLflow reads from its own file."""
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError, ValueError):
        parser.read(Path("~/.mlflow/credentials").expanduser(), encoding="utf-8")
        names = ("mlflow_tracking_password", "mlflow_tracking_username")
        learn(*(parser.get("mlflow", name, fallback="") for name in names))


def _reason(error: BaseException) -> str:
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    return mask(str(error)).partition("\n")[0][:300]  # masked first: a part of a secret is not recognised


@contextmanager
def _quiet(names: Iterable[str] = _LOGGERS) -> Iterator[None]:
    """Silence the loggers of MLflow and its libraries: errors that matter are raised."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
