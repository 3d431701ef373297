"""Writes runs to MLflow, and finds those that are there."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pyarrow as pa

from raysl.tracking.curves import Point, config_curve, trial_curve
from raysl.tracking.facts import VERSION, RunFacts
from raysl.tracking.uri import sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

T = TypeVar("T")

_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 800, 100, 100  # of one batch; 1000 altogether
_PARENT, _DIGEST, _ATTEMPT, _FORMAT = "mlflow.parentRunId", "raysl.digest", "raysl.attempt", "raysl.format"
_ID, _KIND, _STAGE_ID, _FOLDER, _CURRENT = "raysl.id", "raysl.kind", "raysl.stage_id", "raysl.folder", "raysl.current"
_SOURCE = {"mlflow.source.name": "raysl tune", _FORMAT: str(VERSION)}
_LEARNING = {"mlflow.experimentKind": "custom_model_development"}  # not GenAI
SETTINGS = "settings.yaml"


class RunWriter:
    """Writes runs of a results folder, each after its parent.

    uri: of the tracking store that `client` writes to.  facts: all runs to write.
    curves: returns the rows of the table of curves of a trial.
    """

    def __init__(
        self,
        client: "MlflowClient",
        uri: str,
        folder_id: str,
        facts: Sequence[RunFacts],
        curves: Callable[[RunFacts], pa.Table],
    ) -> None:
        self._client, self._database = client, sqlite_path(uri)
        self._curves = curves
        self._folder_id = folder_id
        self._experiments: dict[str, str] = {}  # id by name
        self._searched: set[str] = set()  # stages whose runs are in `_runs`
        self._runs: dict[str, Run] = {}  # this folder's, by the facts' id
        self._trials: dict[str, list[RunFacts]] = defaultdict(list)  # by their config's id
        for run in facts:
            if run.kind == "trial" and run.parent is not None:
                self._trials[run.parent].append(run)

    def write(self, facts: RunFacts) -> Literal["created", "updated", "unchanged"]:
        """Bring a run up to date; return what that took."""
        experiment_id = self._experiment(facts.experiment)
        run = self._find(experiment_id, facts)
        parent = {_PARENT: self._runs[facts.parent].info.run_id} if facts.parent else {}
        if run is None:
            self._fill(self._create(experiment_id, facts, parent), facts, parent)
            return "created"
        if _is_current(run, facts, parent):
            return "unchanged"
        if _is_outdated(run, facts):
            self._client.delete_run(run.info.run_id)
            run = self._create(experiment_id, facts, parent)
        self._fill(run, facts, parent)
        return "updated"

    def set_aside(self, experiment: str, stage_id: str) -> None:
        """Tag the runs of a superseded stage, so that views leave them out."""
        found = self._client.get_experiment_by_name(experiment)
        for run in _search(self._client, found.experiment_id, stage_id) if found is not None else ():
            if run.data.tags[_ID].startswith(f"{self._folder_id}:") and run.data.tags.get(_CURRENT) != "false":
                self._client.set_tag(run.info.run_id, _DIGEST, "")  # it is written again if it becomes current
                self._client.set_tag(run.info.run_id, _CURRENT, "false")

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = _experiment_id(self._client, name, self._database)
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
        tags = {**facts.tags, **parent, **self._identity(facts), **_SOURCE}
        run = self._client.create_run(experiment_id, start_time=facts.start, tags=tags, run_name=facts.name)
        self._runs[facts.id] = run
        return run

    def _identity(self, facts: RunFacts) -> dict[str, str]:
        place = {_STAGE_ID: facts.stage_id, _FOLDER: self._folder_id}
        return {_KIND: facts.kind, _ID: f"{self._folder_id}:{facts.id}", **place}

    def _fill(self, run: "Run", facts: RunFacts, parent: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        run_id, known = run.info.run_id, run.data
        tags = {**facts.tags, **parent, **_SOURCE, _DIGEST: facts.digest}
        for stale in known.tags.keys() - tags.keys() - self._identity(facts).keys():
            if stale.startswith("raysl."):
                self._client.delete_tag(run_id, stale)
        if run.info.run_name != facts.name:
            self._client.update_run(run_id, name=facts.name)
        self._attach(run, facts)
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

    def _attach(self, run: "Run", facts: RunFacts) -> None:
        """Log the data set and the settings; a store that takes none goes without."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException, OSError, ImportError):
            if facts.dataset is not None and not (run.inputs and run.inputs.dataset_inputs):
                name, digest = facts.dataset
                dataset = Dataset(name=name, digest=digest, source_type="local", source=name)
                context = InputTag("mlflow.data.context", "training")
                self._client.log_inputs(run.info.run_id, datasets=[DatasetInput(dataset, [context])])
            if facts.settings and _has_artifacts(run, self._database):
                self._client.log_text(run.info.run_id, facts.settings, SETTINGS)

    def _metrics(self, run: "Run", facts: RunFacts) -> "list[Metric]":
        from mlflow.entities import Metric

        metrics = [Metric(point.name, point.value, point.time, point.step) for point in self._points(run, facts)]
        for key, value in facts.metrics.items():
            known = run.data.metrics.get(key)
            if known is None:
                metrics.append(Metric(key, value, facts.end, 0))
            elif not _same(known, value):  # MLflow shows the value of the last step
                history = self._client.get_metric_history(run.info.run_id, key)
                metrics.append(Metric(key, value, facts.end, 1 + max(entry.step for entry in history)))
        return metrics

    def _points(self, run: "Run", facts: RunFacts) -> list[Point]:
        """Return the points of curves that a run lacks; a config has some once all its trials have finished."""
        whole = _DIGEST in run.data.tags and _ATTEMPT in run.data.tags
        if whole or facts.kind == "stage":
            return []
        if facts.kind == "trial":
            return self._curve(facts)
        finished = facts.status == "FINISHED"
        return config_curve([self._curve(trial) for trial in self._trials[facts.id]], facts.end) if finished else []

    def _curve(self, trial: RunFacts) -> list[Point]:
        return trial_curve(self._curves(trial), trial.stage_id, trial.tags["raysl.trial_id"], trial.start)


def _is_current(run: "Run", facts: RunFacts, parent: dict[str, str]) -> bool:
    wanted = {_DIGEST: facts.digest} | parent
    return run.info.status == facts.status and wanted.items() <= run.data.tags.items()


def _is_outdated(run: "Run", facts: RunFacts) -> bool:
    """Return whether a run cannot become the wanted one: curves and params cannot be removed from a run."""
    attempt = run.data.tags.get(_ATTEMPT)
    retrained = attempt is not None and attempt != facts.tags.get(_ATTEMPT)
    other = any(run.data.params.get(key, value) != value for key, value in facts.params.items())
    return retrained or other or run.data.tags.get(_FORMAT) != str(VERSION)


def _has_artifacts(run: "Run", database: Path | None) -> bool:
    """Return whether a run takes artifacts; those of a database's runs lie beside it, never where a search runs."""
    place = run.info.artifact_uri or ""
    return database is None or str(database.parent) in place


def _same(known: float, value: float) -> bool:
    return known == value or (math.isnan(known) and math.isnan(value))


def _experiment_id(client: "MlflowClient", name: str, database: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        beside = database.absolute().parent / "artifacts" if database is not None else None
        try:
            return client.create_experiment(name, artifact_location=beside.as_uri() if beside else None, tags=_LEARNING)
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
