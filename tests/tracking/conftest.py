"""A small search whose trials end one after the other, and what MLflow holds of it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from raysl.results.records.rows import Epoch, Score, TrialRow
from raysl.results.records.seed_design import SeedDesign
from raysl.results.records.stages import Member, SelectionRecord, StageRecord
from raysl.results.tables.build import Tables, build
from raysl.search.config_means import summarise

FOLDER = "f01dacc0"  # id of the results folder
DATA = {"source": "digits", "labels": 50, "unlabelled": 1297, "image_size": None}
TERMS = {"supervised": 0.75, "rotation": 0.25}


@dataclass
class Search:
    """One stage: learning rates x seeds."""

    lrs: tuple[float, ...] = (0.01, 0.001, 0.0001)
    num_seeds: int = 5
    num_epochs: int = 3
    searched: bool = True
    profile: str = ""
    stage_id: str = "s0"
    created_at: float = 1.0
    labels: int = 50
    spec: str = "{}"
    design: SeedDesign | None = None
    more: dict[str, tuple[float, ...]] = field(default_factory=dict)  # of further keys, each config's value
    rows: dict[str, TrialRow] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    selection: SelectionRecord | None = None

    @property
    def stage(self) -> StageRecord:
        members = tuple(
            Member(f"{self.stage_id}-t{config}-{seed}", f"c{config}", seed, self._params(config, lr))
            for config, lr in enumerate(self.lrs)
            for seed in range(self.num_seeds)
        )
        keys = ("optimizer.lr", *self.more) if self.searched else ()
        data = DATA | {"labels": self.labels}
        return StageRecord(
            "rotation_semi", self.profile, "semi", self.stage_id, "train_loss", 0, data, keys, members, self.created_at,
            design=self.design,
        )  # fmt: skip

    def _params(self, config: int, lr: float) -> dict[str, float]:
        more = {key: values[config] for key, values in self.more.items()}
        return {"optimizer.lr": lr} | more if self.searched else {}

    def end(self, place: int, **changes: Any) -> None:
        """End the trial at this place of the stage."""
        member = self.stage.members[place]
        started = 1_700_000_000.0 + 100 * place
        curve = tuple(
            Epoch(e, 0.1 / (e + 1), 1.0 / (e + 1) + place, {k: v / (e + 1) for k, v in TERMS.items()}, 2.0)
            for e in range(self.num_epochs)
        )
        row = TrialRow(
            member.trial_id, "finished", "", "semi", member.seed, curve[-1].loss,
            {"accuracy": 0.5 + place / 100}, self.num_epochs, 1000, 60.0,
            started, started + 90.0, 1, "cpu", "0.1.0", "2.15.0", self.spec, curve,
        )  # fmt: skip
        self.rows[member.trial_id] = replace(row, **changes)

    def end_all(self) -> "Search":
        for place in range(len(self.stage.members)):
            self.end(place)
        return self

    def select(self, config_id: str = "c0") -> "Search":
        trial_ids = tuple(member.trial_id for member in self.stage.members if member.config_id == config_id)
        reason = f"{config_id} has the lowest mean final loss"
        self.selection = SelectionRecord(
            self.stage_id, "train_loss", config_id, {}, trial_ids, reason, (), (), 1_700_009_000.0
        )
        return self

    def score(self, value: float = 0.9, metric: str = "accuracy") -> "Search":
        assert self.selection is not None
        self.scores = {trial_id: Score(trial_id, {metric: value}, 100, "{}") for trial_id in self.selection.trial_ids}
        return self

    def tables(self, *others: "Search") -> Tables:
        """Return the tables of a folder that holds this search, and others."""
        searches = (self, *others)
        rows = {name: row for search in searches for name, row in search.rows.items()}
        scores = {name: score for search in searches for name, score in search.scores.items()}
        selections = {search.stage_id: search.selection for search in searches if search.selection}
        stages = [search.stage for search in searches]
        configs = [summary for stage in stages for summary in summarise(stage, rows, scores)]
        return build(stages, rows, scores, configs, selections)


@dataclass(frozen=True)
class Logged:
    """A run as MLflow holds it, without what differs between two stores."""

    name: str
    parent: str | None
    status: str
    start: int
    end: int
    params: dict[str, str]
    tags: dict[str, str]
    history: dict[str, list[tuple[int, int, float]]]


@pytest.fixture
def search() -> Search:
    return Search()


@pytest.fixture
def make_search() -> type[Search]:
    return Search


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def logged() -> Callable[..., dict[str, Logged]]:
    """Return a results folder's runs by their `raysl.id` after its own, asserting that none is there twice."""
    return _logged


def _logged(uri: str, experiment: str = "rotation_semi", folder_id: str = FOLDER) -> dict[str, Logged]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    runs = client.search_runs([found.experiment_id], max_results=1000)
    prefix = f"{folder_id}:"
    runs = [run for run in runs if run.data.tags["raysl.id"].startswith(prefix)]
    ids = {run.info.run_id: run.data.tags["raysl.id"].removeprefix(prefix) for run in runs}
    assert len(set(ids.values())) == len(ids)
    return {ids[run.info.run_id]: _entry(client, run, ids) for run in runs}


def _entry(client: Any, run: Any, ids: dict[str, str]) -> Logged:
    tags = dict(run.data.tags)
    parent = tags.pop("mlflow.parentRunId", None)
    history = {
        key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
        for key in sorted(run.data.metrics)
    }
    info = run.info
    above = ids[parent] if parent else None
    return Logged(info.run_name, above, info.status, info.start_time, info.end_time, run.data.params, tags, history)
