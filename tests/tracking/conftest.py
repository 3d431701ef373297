"""A small search whose trials end one after the other, and what MLflow holds of it."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from raysl.results import (
    ConfigSummary,
    Epoch,
    Member,
    Score,
    SelectionRecord,
    StageRecord,
    Tables,
    TrialRow,
    build,
)

TERMS = {"supervised": 0.75, "rotation": 0.25}


@dataclass
class Search:
    """One stage: learning rates x seeds."""

    lrs: tuple[float, ...] = (0.01, 0.001, 0.0001)
    num_seeds: int = 5
    num_epochs: int = 3
    profile: str = ""
    stage_id: str = "s0"
    rows: dict[str, TrialRow] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    selection: SelectionRecord | None = None

    @property
    def stage(self) -> StageRecord:
        members = tuple(
            Member(f"{self.stage_id}-t{config}-{seed}", f"c{config}", seed, {"optimizer.lr": lr})
            for config, lr in enumerate(self.lrs)
            for seed in range(self.num_seeds)
        )
        keys = ("optimizer.lr",)
        return StageRecord(
            "rotation_semi", self.profile, "semi", self.stage_id, "train_loss", 0, {}, keys, members, 1.0
        )

    def end(self, place: int, **changes: Any) -> None:
        """End the trial at this place of the stage."""
        member = self.stage.members[place]
        started = 1_700_000_000.0 + 100 * place
        curve = tuple(
            Epoch(e, 0.1 / (e + 1), 1.0 / (e + 1) + place, {k: v / (e + 1) for k, v in TERMS.items()}, 2.0)
            for e in range(self.num_epochs)
        )
        row = TrialRow(
            member.trial_id, "finished", "", "semi", member.seed, curve[-1].loss, 0.5 + place / 100, self.num_epochs,
            1000, 60.0, started, started + 90.0, 1, "cpu", "0.1.0", "2.15.0", "{}", curve,
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

    def score(self, accuracy: float = 0.9) -> "Search":
        assert self.selection is not None
        self.scores = {trial_id: Score(trial_id, accuracy, 100, "{}") for trial_id in self.selection.trial_ids}
        return self

    def tables(self) -> Tables:
        configs = [self._summary(config_id) for config_id in dict.fromkeys(m.config_id for m in self.stage.members)]
        selections = {self.stage_id: self.selection} if self.selection else {}
        return build([self.stage], self.rows, self.scores, configs, selections)

    def _summary(self, config_id: str) -> ConfigSummary:
        ids = [member.trial_id for member in self.stage.members if member.config_id == config_id]
        rows = [self.rows[name] for name in ids if name in self.rows and self.rows[name].status == "finished"]
        losses = [row.final_loss for row in rows if row.final_loss is not None]
        tests = [self.scores[name].test_accuracy for name in ids if name in self.scores]
        eligible = len(rows) == self.num_seeds
        return ConfigSummary(
            self.stage_id, config_id, self.num_seeds, len(rows), eligible, "" if eligible else "a seed is missing",
            statistics.mean(losses) if losses else None, statistics.stdev(losses) if len(losses) > 1 else None,
            0.5, 0.1, statistics.mean(tests) if tests else None, 0.0 if tests else None, 60.0,
        )  # fmt: skip


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
    """Return all runs of a store by their `raysl.id`, asserting that none is there twice."""
    return _logged


def _logged(uri: str, experiment: str = "rotation_semi") -> dict[str, Logged]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    runs = client.search_runs([found.experiment_id], max_results=1000)
    ids = {run.info.run_id: run.data.tags["raysl.id"] for run in runs}
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
