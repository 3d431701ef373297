"""What tests of races share: values of seeds, and raced searches as their user and their reports see them."""

from pathlib import Path
from typing import Any

import numpy as np
from tiny import Finished

import raysl as package
from raysl.reports.ineligible import DROPPED, trouble
from raysl.reports.page.leaderboard import leaderboard
from raysl.reports.stages import read_stages
from raysl.results.records.stages import Race
from raysl.search.race import Ended

Values = dict[str, list[float | None]]  # by config, in the order of the race's seeds; None is a seed that failed


def drawn(random: np.random.Generator, race: Race) -> Values:
    """Return the values of all seeds: some configs near each other, some far, a few that fail."""
    num_configs = int(random.integers(1, 8))
    means = random.choice([0.0, 0.01, 1.0, 30.0], size=num_configs)
    noise = random.normal(size=(num_configs, len(race.seeds))) * 0.05
    values = (means[:, None] + random.normal(size=len(race.seeds)) + noise).tolist()
    failed = random.random((num_configs, len(race.seeds))) < 0.05
    return {f"c{i}": [None if failed[i, j] else value for j, value in enumerate(row)] for i, row in enumerate(values)}


def of_trials(values: Values, race: Race, known: list[tuple[str, int]]) -> Ended:
    """Return the values of some trials, each given as a config and the place of its seed."""
    found: dict[str, dict[int, float | None]] = {one: {} for one in values}
    for one, place in known:
        found[one][race.seeds[place]] = values[one][place]
    return found


def configs_of(results: Path, stage: str = "semi") -> list[dict[str, Any]]:
    """Return the current configs of a stage."""
    return [one for one in package.read(str(results)).current().configs.to_pylist() if one["stage"] == stage]


def trained(results: Path) -> set[str]:
    """Return the ids of all trials that have rows."""
    return {path.stem for path in (results / "rows").glob("*.parquet")}


def check_dropped_are_told_apart(raced: Finished) -> None:
    """Check that MLflow and the report take no dropped config for one that failed or is missing."""
    from mlflow import MlflowClient  # takes seconds

    client = MlflowClient(f"sqlite:///{raced.results}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(ids)} == {"FINISHED"}
    stage = next(one for one in read_stages([str(raced.results)]) if one.stage == "semi")
    marks = {one["config_id"]: trouble(stage, one) for one in stage.configs if not one["eligible"]}
    assert set(marks.values()) == {DROPPED}
    page = str(leaderboard(stage))
    assert page.count("dropped in round") == len(marks)
    assert "not eligible" not in page
