"""Connections to tracking stores, quiet, with short timeouts and one kind of error."""

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from raysl.errors import UserError
from raysl.outgoing import learn_credentials, mask
from raysl.tracking.database import make_tables
from raysl.tracking.uri import sqlite_path, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A request that is repeated after a timeout can create a run twice; the next sync looks for the run first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_LOGGERS = ("mlflow", "alembic", "sqlalchemy", "sqlalchemy.engine", "urllib3.connectionpool")


class StoreError(UserError):
    """A tracking store that cannot be reached, read or written."""


@contextmanager
def connected(uri: str) -> Iterator["MlflowClient"]:
    """Yield a client of a tracking store; a database that is not there yet is made.

    Sets MLflow's environment variables for short timeouts, no retries and no telemetry if they are unset.
    Raises StoreError for every error of the store within the block.
    """
    learn_credentials("~/.mlflow/credentials", ("mlflow_tracking_password", "mlflow_tracking_username"))
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    errors = _store_errors()  # imports MLflow, which sets its loggers: before they are silenced
    try:
        with _quiet():
            yield _open(uri)
    except errors as error:
        # `from None`: the error's text holds the address, with its password.
        raise StoreError(f"MLflow at {without_password(uri)}: {_reason(error)}") from None


def _open(uri: str) -> "MlflowClient":
    """Return a client of a tracking store; raises StoreError for a SQLite database that this MLflow cannot open."""
    from mlflow import MlflowClient

    path = sqlite_path(uri)
    if path is not None:
        make_tables(path)
    try:
        return MlflowClient(tracking_uri=uri)
    except _store_errors() as error:
        if path is None:
            raise
        raise StoreError(
            f"MLflow at {without_password(uri)}: {_reason(error)}; "
            f"if no other program is making or upgrading {path}, move it away: raysl writes its runs into a new one"
        ) from None


def _store_errors() -> tuple[type[Exception], ...]:
    """Return what a store raises: MLflow's own errors, its databases', its migrations', those of files."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError, sqlite3.Error


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
