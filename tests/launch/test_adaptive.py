"""An adaptive search as its user runs it: disturbed and undisturbed, alone and two trials at once."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tiny import Finished, here, inline, raysl, start, tables_of, write
from waiting import wait_for

import raysl as package
from raysl.results.records.proposals import read_proposals
from raysl.results.storage.store import Store

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: 16}
seeds: 2
resources: {checkpoint_seconds: 0}
stages:
  semi:
    method: {name: rotation}
    epochs: 3
    batch_size: 32
    optimizer: {name: adam, lr: {loguniform: [1e-4, 1e-1]}}
    search: {algorithm: optuna, num_configs: 6, sampler: {name: TPESampler, n_startup_trials: 3}}
    select: probe_accuracy
  finetune:
    method: {name: supervised}
    start_from: semi
    epochs: 2
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
    probe: classifier
"""
ONE_AT_A_TIME = ("--max-concurrent", "1")


def proposals_of(results: Path) -> list[dict[str, Any]]:
    [folder] = (results / "proposals").iterdir()
    return [asdict(one) for one in read_proposals(Store.open(str(results), create=False), folder.name)]


@pytest.fixture
def undisturbed(finished: Callable[..., Finished]) -> tuple[Path, Path]:
    """The search's YAML and its results folder."""
    return finished(EXPERIMENT)[:2]


def test_every_config_is_trained_on_all_seeds_and_told_as_their_mean(undisturbed: tuple[Path, Path]) -> None:
    _, results = undisturbed
    tables = package.read(str(results))
    trials = [trial for trial in tables.trials.to_pylist() if trial["stage"] == "semi"]
    assert Counter(trial["seed"] for trial in trials) == {0: 6, 1: 6}
    means = {
        c["params.optimizer.lr"]: c["probe_accuracy_mean"] for c in tables.configs.to_pylist() if c["stage"] == "semi"
    }
    proposals = proposals_of(results)
    assert [p["params"]["optimizer.lr"] for p in proposals] == list(means)
    told = {one["number"]: one["values"][0] for proposal in proposals for one in proposal["told"]}
    assert told == pytest.approx(dict(enumerate(list(means.values())[:-1])))  # nothing is asked after the last one


def test_each_proposal_is_a_file_with_the_token_of_the_claim(undisturbed: tuple[Path, Path]) -> None:
    [folder] = (undisturbed[1] / "proposals").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [f"{number}.1.json" for number in range(6)]


def test_the_next_stage_starts_from_the_config_that_was_selected(undisturbed: tuple[Path, Path]) -> None:
    trials = package.read(str(undisturbed[1])).trials.to_pylist()
    starts = [json.loads(trial["spec"])["start"] for trial in trials if trial["stage"] == "finetune"]
    assert starts == [trial["trial_id"] for trial in trials if trial["stage"] == "semi" and trial["selected"]]
    assert all(t["probe_accuracy"] is None and t["test_accuracy"] for t in trials if t["stage"] == "finetune")


def test_the_same_command_again_proposes_and_trains_nothing(undisturbed: tuple[Path, Path]) -> None:
    file, results = undisturbed
    before = proposals_of(results)
    again = here("tune", file, "--results", results, *ONE_AT_A_TIME)
    assert again.returncode == 0, again.stderr
    assert "0 to train" in again.stdout
    assert "starting Ray" not in again.stdout
    assert proposals_of(results) == before


def kill_when(file: Path, results: Path, num_rows: int, *more: object) -> None:
    """Start a search and kill it outright once it has written so many rows."""
    driver = start(file, results, *more)
    wait_for(
        f"row {num_rows}",
        lambda: len(list((results / "rows").glob("*.parquet"))) >= num_rows or driver.poll() is not None,
    )
    driver.kill()
    driver.communicate()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_configs_and_numbers(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    file, expected = undisturbed
    results = tmp_path / "results"
    seed = time.time_ns()
    wanted = sorted(random.Random(seed).sample(range(1, 12), 3))
    for rows in wanted:
        kill_when(file, results, rows, *ONE_AT_A_TIME)
        assert len(list((results / "rows").glob("*.parquet"))) < 14
    done = inline("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables_of(results) == tables_of(expected), f"killed with {wanted} rows (seed {seed})"
    assert proposals_of(results) == proposals_of(expected), f"killed with {wanted} rows (seed {seed})"


@pytest.mark.alike("two drivers")
@pytest.mark.slow
def test_two_at_once_and_killed_no_config_is_trained_twice(tmp_path: Path) -> None:
    file, results = write(tmp_path, EXPERIMENT), tmp_path / "results"
    kill_when(file, results, 5)
    before = {path.name: path.stat().st_mtime_ns for path in (results / "rows").iterdir() if path.suffix == ".parquet"}
    asked = proposals_of(results)
    done = raysl("tune", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert proposals_of(results)[: len(asked)] == asked
    rates = [proposal["params"]["optimizer.lr"] for proposal in proposals_of(results)]
    assert len(rates) == len(set(rates)) == 6
    trials = [t for t in package.read(str(results)).trials.to_pylist() if t["stage"] == "semi"]
    assert len(trials) == len({trial["trial_id"] for trial in trials}) == 12
    after = {path.name: path.stat().st_mtime_ns for path in (results / "rows").iterdir()}
    assert {name: after[name] for name in before} == before  # what was finished was left alone


@pytest.mark.slow
def test_more_configs_continue_the_search_and_fewer_show_its_beginning(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    file, expected = undisturbed
    results = tmp_path / "results"
    longer = ["--results", results, "--set"]
    for num_configs, said in ((4, "8 trials, 8 to train"), (6, "12 trials, 4 to train, 8 taken")):
        done = inline("tune", file, *longer, f"stages.semi.search.num_configs={num_configs}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"stage semi: {said}" in done.stdout
    assert proposals_of(results) == proposals_of(expected)
    assert package.read(str(results)).current().configs.num_rows == 7
    inline("tune", file, *longer, "stages.semi.search.num_configs=4")
    assert package.read(str(results)).current().configs.num_rows == 5
