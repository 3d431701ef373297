"""Writes the runs of the result tables to MLflow; a second sync of the same tables writes nothing.

Every run has the tag `raysl.id`, by which it is found again. It begins with the results folder's own id, so that
folders can share a server. A completely written run also has `raysl.digest`, the digest of what was written. Logged
points have their times and steps from the tables, and MLflow stores a repeated point once: a run that was half written
when its writer was killed is simply written again.
"""

import configparser
import logging
import math
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa

from raysl.errors import UserError
from raysl.outgoing import learn, mask
from raysl.results.tables.build import Tables
from raysl.tracking.facts import RunFacts, curve, run_facts
from raysl.tracking.uri import sqlite_path, validate_uri, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

T = TypeVar("T")

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A request that is repeated after a timeout can create a run twice; the next sync looks for the run first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_LOGGERS = ("mlflow", "alembic", "sqlalchemy", "sqlalchemy.engine", "urllib3.connectionpool")
_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 800, 100, 100  # of one batch; 1000 altogether
_PARENT, _DIGEST, _ATTEMPT = "mlflow.parentRunId", "raysl.digest", "raysl.attempt"
_ID, _KIND, _STAGE_ID = "raysl.id", "raysl.kind", "raysl.stage_id"
_SOURCE = {"mlflow.source.name": "raysl tune"}


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


def sync(tables: Tables, uri: str, folder_id: str, curves: Callable[[RunFacts], pa.Table] | None = None) -> SyncReport:
    """Bring MLflow up to date with the current stages: a run per stage, config and trial, each nested in the one above.

    folder_id: of the tables' results folder; runs of other folders are left alone.
    curves: returns the rows of the table of curves of a trial; None takes `tables.curves`.
    Sets MLflow's environment variables for short timeouts, no retries and no telemetry if they are unset.
    Raises UserError for a URI that MLflow cannot take, TrackingError if the store cannot be reached or written.
    """
    validate_uri(uri)
    _learn_credentials()
    facts = run_facts(tables)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    outcomes: Counter[str] = Counter()
    try:
        with _quiet():
            _check_sqlite(uri)
            writer = _Writer(MlflowClient(tracking_uri=uri), folder_id, curves or (lambda run: tables.curves))
            for run in facts:
                outcomes[writer.write(run)] += 1
    except (MlflowException, SQLAlchemyError, OSError, sqlite3.Error) as error:
        missing = len(facts) - outcomes.total()
        # `from None`: the error's text holds the address, with its password.
        raise TrackingError(f"MLflow at {without_password(uri)}: {_reason(error)}", missing) from None
    return SyncReport(outcomes["created"], outcomes["updated"], outcomes["unchanged"])


class _Writer:
    """Writes runs, each after its parent."""

    def __init__(self, client: "MlflowClient", folder_id: str, curves: Callable[[RunFacts], pa.Table]) -> None:
        self._client = client
        self._curves = curves
        self._folder_id = folder_id
        self._experiments: dict[str, str] = {}  # id by name
        self._searched: set[str] = set()  # stages whose runs are in `_runs`
        self._runs: dict[str, Run] = {}  # this folder's, by the facts' id

    def write(self, facts: RunFacts) -> Literal["created", "updated", "unchanged"]:
        experiment_id = self._experiment(facts.experiment)
        run = self._find(experiment_id, facts)
        parent = {_PARENT: self._runs[facts.parent].info.run_id} if facts.parent else {}
        if run is None:
            self._fill(self._create(experiment_id, facts, parent), facts, parent)
            return "created"
        if _is_current(run, facts, parent):
            return "unchanged"
        if run.data.tags.get(_ATTEMPT) != facts.tags.get(_ATTEMPT):  # trained again: the old curve is outdated
            self._client.delete_run(run.info.run_id)
            run = self._create(experiment_id, facts, parent)
        self._fill(run, facts, parent)
        return "updated"

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = _experiment_id(self._client, name)
        return self._experiments[name]

    def _find(self, experiment_id: str, facts: RunFacts) -> "Run | None":
        if facts.stage_id not in self._searched:
            self._searched.add(facts.stage_id)
            found = _search(self._client, experiment_id, facts.stage_id)
            for run in sorted(found, key=lambda run: (_DIGEST not in run.data.tags, run.info.run_id)):
                self._take(run)
        return self._runs.get(facts.id)

    def _take(self, run: "Run") -> None:
        folder_id, _, name = run.data.tags[_ID].partition(":")
        if folder_id == self._folder_id and self._runs.setdefault(name, run) is not run:
            self._client.delete_run(run.info.run_id)  # two syncs at once have each made one

    def _create(self, experiment_id: str, facts: RunFacts, parent: dict[str, str]) -> "Run":
        identity = {_KIND: facts.kind, _ID: f"{self._folder_id}:{facts.id}", _STAGE_ID: facts.stage_id}
        tags = {**facts.tags, **parent, **identity, **_SOURCE}
        run = self._client.create_run(experiment_id, start_time=facts.start, tags=tags, run_name=facts.name)
        self._runs[facts.id] = run
        return run

    def _fill(self, run: "Run", facts: RunFacts, parent: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        run_id, known = run.info.run_id, run.data
        tags = {**facts.tags, **parent, **_SOURCE, _DIGEST: facts.digest}
        for stale in known.tags.keys() - tags.keys() - {_KIND, _ID, _STAGE_ID}:
            if stale.startswith("raysl."):
                self._client.delete_tag(run_id, stale)
        batches = _batches(
            self._metrics(run, facts),
            [Param(key, value) for key, value in facts.params.items() if key not in known.params],
            [RunTag(key, value) for key, value in tags.items() if known.tags.get(key) != value],
        )
        for metrics, params, new_tags in batches:
            self._client.log_batch(run_id, metrics=metrics, params=params, tags=new_tags, synchronous=True)
        if facts.status != "RUNNING":
            self._client.set_terminated(run_id, status=facts.status, end_time=facts.end)
        elif run.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")

    def _metrics(self, run: "Run", facts: RunFacts) -> "list[Metric]":
        from mlflow.entities import Metric

        metrics = []
        if facts.kind == "trial" and _DIGEST not in run.data.tags:
            found = curve(self._curves(facts), facts)
            metrics = [Metric(point.name, point.value, point.time, point.step) for point in found]
        for key, value in facts.metrics.items():
            known = run.data.metrics.get(key)
            if known is None:
                metrics.append(Metric(key, value, facts.end, 0))
            elif not _same(known, value):  # MLflow shows the value of the last step
                history = self._client.get_metric_history(run.info.run_id, key)
                metrics.append(Metric(key, value, facts.end, 1 + max(entry.step for entry in history)))
        return metrics


def _is_current(run: "Run", facts: RunFacts, parent: dict[str, str]) -> bool:
    wanted = {_DIGEST: facts.digest} | parent
    return run.info.status == facts.status and wanted.items() <= run.data.tags.items()


def _same(known: float, value: float) -> bool:
    return known == value or (math.isnan(known) and math.isnan(value))


def _experiment_id(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name)
        except MlflowException:  # another process may have made it meanwhile
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        command = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        raise MlflowException(f"experiment {name!r} is deleted there; bring it back with `{command}`")
    return experiment.experiment_id


def _search(client: "MlflowClient", experiment_id: str, stage_id: str) -> "Iterator[Run]":
    token = None
    while True:
        chosen = f"tags.`{_STAGE_ID}` = '{stage_id}'"
        page = client.search_runs([experiment_id], chosen, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _batches(*columns: Sequence[Any], limits: Sequence[int] = (_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS)) -> list[Any]:
    """Cut metrics, params and tags into batches; the last tags, and so the digest, are in the last batch."""
    cut = [list(_chunks(column, limit)) for column, limit in zip(columns, limits, strict=True)]
    return list(zip_longest(*(reversed(chunks) for chunks in cut), fillvalue=()))[::-1]


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    yield from (items[start : start + size] for start in range(0, len(items), size))


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
