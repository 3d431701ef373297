"""Searches that select by label-free rules: what is measured, what is trained again, and what is said."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tiny import here, inline, write

import raysl
from raysl.results.criteria import CRITERION_NAMES

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: null}
seeds: 2
stages:
  pretrain:
    method: {name: simclr, temperature: {grid: [0.1, 0.5, 1]}, projector: 8}
    epochs: 2
    batch_size: 32
    optimizer: {name: adam, lr: 1e-2}
    select: probe_accuracy
"""
VOTE = "stages.pretrain.select={vote: [ami, rankme, lidar]}"


def trials_of(results: Path) -> dict[str, dict[str, Any]]:
    return {row["trial_id"]: row for row in raysl.read(str(results)).current().trials.to_pylist()}


@pytest.mark.slow
def test_a_finished_search_is_selected_anew_by_a_vote(tmp_path: Path) -> None:
    file, results = write(tmp_path, EXPERIMENT), tmp_path / "r"
    assert inline("tune", file, "--results", results).returncode == 0
    before = trials_of(results)
    assert all(row[name] is None for row in before.values() for name in CRITERION_NAMES)
    two = [f"{results}:pretrain:{config_id}" for config_id in sorted({row["config_id"] for row in before.values()})[:2]]
    asked = here("compare", *two, "--metric", "rankme")
    assert asked.returncode == 2
    assert "`criteria: [rankme]` in the stage pretrain and the search's command measure it" in asked.stderr
    told = here("tune", file, "--results", results, "--set", VOTE, "--dry-run")
    assert "6 trials, select: vote(rankme, lidar, ami)" in told.stdout
    assert all(trial_id in told.stdout for trial_id in before)
    plan = here("plan", file, "--results", results, "--set", VOTE, "--format", "json")
    assert sum(shape["done"] for one in json.loads(plan.stdout)["experiments"] for shape in one["stages"]) == 2

    ended = inline("tune", file, "--results", results, "--set", VOTE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    after = trials_of(results)
    assert after.keys() == before.keys()
    for trial_id, row in after.items():
        assert row["final_loss"] == before[trial_id]["final_loss"]
        assert {name for name in CRITERION_NAMES if row[name] is not None} == {"rankme", "lidar", "ami"}
    # Only the models of the selected config were kept: its trials are measured, and the others trained again.
    assert here("compare", *two, "--metric", "rankme").returncode == 0
    trained = {i: (results / "logs" / f"{i}.log").read_text().count("epoch 2 of 2") for i in after}
    assert trained == {i: 1 if row["selected"] else 2 for i, row in before.items()}

    tables = raysl.read(str(results)).current()
    [selection] = tables.selections.to_pylist()
    ranks = {row["config_id"]: row["vote_mean"] for row in tables.configs.to_pylist()}
    assert selection["rule"] == "vote(rankme, lidar, ami)"
    assert ranks[selection["config_id"]] == min(ranks.values())
    assert sum(ranks.values()) == pytest.approx(6)
    assert "lowest mean rank by rankme, lidar and ami" in selection["reason"]
    again = inline("tune", file, "--results", results, "--set", VOTE)
    assert "6 trials, 0 to train" in again.stdout
    shown = here("show", results)
    assert "mean rank" in shown.stdout, shown.stderr
    assert "RankMe" not in shown.stdout.partition("selected")[0], "a vote compares ranks"
    [row, *_] = csv.DictReader(here("show", results, "--format", "csv").stdout.splitlines())
    assert {f"{name}_mean" for name in ("rankme", "lidar", "ami", "vote")} <= row.keys()
    assert "uniformity_mean" not in row
    page = tmp_path / "page.html"
    assert here("report", results, "--output", page).returncode == 0
    assert all(f">{head}</th>" in page.read_text() for head in ("RankMe", "k-means AMI", "mean rank"))
    written = json.loads(next((results / "selections").glob("*.json")).read_text())
    assert isinstance(written["rule"], str)


@pytest.mark.slow
def test_optuna_takes_a_criterion_as_its_objective(tmp_path: Path) -> None:
    file, results = write(tmp_path, EXPERIMENT), tmp_path / "r"
    overrides = [
        "stages.pretrain.search={algorithm: optuna, num_configs: 2, objectives: [rankme, seconds]}",
        "stages.pretrain.select=rankme",
    ]
    ended = inline("tune", file, "--results", results, *(part for one in overrides for part in ("--set", one)))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert all(row["rankme"] > 0 for row in trials_of(results).values())
