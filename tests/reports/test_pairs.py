"""Differences of configs from the selected one, and reports of a folder that has lost a row of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import here

from raysl.reports import pairs, regrets
from raysl.reports.stages import read_stages
from raysl.results.storage.store import Store

CONFIGS = [{"w": 0.1}, {"w": 0.2}, {"w": 0.3}]


def outcome(params: dict[str, float], seed: int) -> dict[str, float]:
    return {"probe_accuracy": 0.5 + params["w"] + seed / 100, "test_accuracy": 0.5}


def test_differences_are_paired_by_seed(made: Callable[..., str]) -> None:
    [stage] = read_stages([made(("swept", CONFIGS, outcome))])
    assert pairs.obstacle(stage) == ""
    found = pairs.pairs(stage)
    assert [one.config["config_id"] for one in found] == ["c1", "c0"]
    assert found[0].differences == pytest.approx((-10.0, -10.0))


def test_a_lost_row_of_the_selected_config_is_said(
    made: Callable[..., str], republish: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = Path(made(("swept", CONFIGS, outcome)).removeprefix("file://"))
    Store.open(str(folder), create=False).delete("rows/swept-2-0.parquet")
    republish(folder)
    [stage] = read_stages([str(folder)])
    assert "has lost a trial" in pairs.obstacle(stage)
    assert "has lost a trial" in str(regrets.obstacle(stage))
    page = here("report", folder, "--output", tmp_path / "page.html")
    assert page.returncode == 0, page.stderr
    figure = here("report", folder, "--figure", "seeds", "--output", tmp_path / "seeds.png")
    assert (figure.returncode, "has lost a trial" in figure.stderr) == (2, True), figure.stderr
