"""The audit's regrets are those that the published trials give by hand."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysl.reports import audit
from raysl.reports.regrets import regret
from raysl.reports.stages import read_stages
from raysl.results import read
from raysl.results.records.rows import Score, read_row, write_row, write_score
from raysl.results.storage.store import Store

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[str, str]]


def by_config(folder: Path, *, selected: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the trials of the stage `semi` by config: of the selected one, or of the others."""
    configs: dict[str, list[dict[str, Any]]] = {}
    for trial in read(str(folder)).trials.to_pylist():
        if trial["stage"] == "semi" and trial["selected"] is selected:
            configs.setdefault(trial["config_id"], []).append(trial)
    return configs


def rescore(folder: Path, republish: Callable[[Path], None], selected: list[float], other: list[float]) -> None:
    """Give the trials of `semi` other scores, by seed."""
    store = Store.open(str(folder), create=False)
    for values, is_selected in ((selected, True), (other, False)):
        [trials] = by_config(folder, selected=is_selected).values()
        for trial, value in zip(trials, values, strict=True):
            write_score(store, Score(trial["trial_id"], {"accuracy": value}, 500, "{}"))
    republish(folder)


def rows(tmp_path: Path) -> dict[str, dict[str, Any]]:
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "out" / "audit.arrow"))).read_all()
    return {row["stage"]: row for row in table.to_pylist()}


def test_the_regret_is_that_of_the_published_trials(results: str, run: Run, tmp_path: Path) -> None:
    run(audit.main, results)
    trials = [trial for trial in read(results).trials.to_pylist() if trial["stage"] == "semi"]
    accuracies: dict[str, list[float]] = {}
    for trial in sorted(trials, key=lambda trial: trial["seed"]):
        accuracies.setdefault(trial["config_id"], []).append(trial["test_accuracy"])
    chosen = next(trial["config_id"] for trial in trials if trial["selected"])
    best = max(accuracies, key=lambda config: statistics.fmean(accuracies[config]))
    expected = 100 * (statistics.fmean(accuracies[best]) - statistics.fmean(accuracies[chosen]))
    row = rows(tmp_path)["semi"]
    assert row["regret"] == pytest.approx(expected, abs=1e-9)
    assert (row["selected_config_id"], row["best_config_id"]) == (chosen, best)
    assert (row["num_seeds"], row["num_configs"], row["labels"], row["source"]) == (2, 2, 40, "digits")


def test_a_worse_choice_costs_what_it_costs_seed_by_seed(
    changed: Path, republish: Callable[[Path], None], run: Run, tmp_path: Path
) -> None:
    rescore(changed, republish, selected=[0.60, 0.70], other=[0.65, 0.73])
    printed, _ = run(audit.main, changed)
    row = rows(tmp_path)["semi"]
    assert row["differences"] == pytest.approx([5.0, 3.0])
    assert row["regret"] == pytest.approx(4.0)
    # t of 97.5 % at 1 degree of freedom is 12.706; the standard error is sqrt(2) / sqrt(2).
    assert (row["regret_low"], row["regret_high"]) == pytest.approx((4 - 12.7062, 4 + 12.7062), abs=1e-3)
    assert "4.00  -8.71 to +16.71" in printed
    assert "chose the best config in 0 of 1 stages; mean regret 4.00 points" in printed


@pytest.mark.parametrize("other", [[0.5, 0.6], [0.7, 0.6]])
def test_nothing_is_given_up_where_the_selected_is_the_best_or_as_good(
    changed: Path, republish: Callable[[Path], None], run: Run, tmp_path: Path, other: list[float]
) -> None:
    rescore(changed, republish, selected=[0.6, 0.7], other=other)
    printed, _ = run(audit.main, changed)
    row = rows(tmp_path)["semi"]
    assert row["regret"] == 0
    assert row["best_config_id"] == row["selected_config_id"]
    assert row["regret_low"] is None
    assert "chose the best config in 1 of 1 stages" in printed
    stage = read_stages([str(changed)])[0]
    for configs in (stage.configs, stage.configs[::-1]):
        assert regret(replace(stage, configs=configs)).best["selected"]


def test_the_winners_curse_is_stated_wherever_the_regret_is(results: str, run: Run, tmp_path: Path) -> None:
    printed, _ = run(audit.main, results)
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "out" / "audit.arrow"))).read_all()
    for text in (printed, (tmp_path / "out" / "audit.txt").read_text(), table.schema.metadata[b"note"].decode()):
        assert "upper bound (winner's curse)" in text
        assert "picked by the same test scores" in text


def test_a_stage_with_an_unscored_config_is_named_and_not_guessed(
    changed: Path, republish: Callable[[Path], None], results: str, run: Run, fails: Callable[..., str], tmp_path: Path
) -> None:
    [trials] = by_config(changed, selected=False).values()
    (changed / "scores" / f"{trials[1]['trial_id']}.parquet").unlink()
    republish(changed)
    message = fails(audit.main, changed)
    assert "tiny/semi, digits, 40 labels: 1 of 2 eligible configs are not scored" in message
    assert "--score all" in message
    printed, _ = run(audit.main, results, changed)  # another folder's stage can be audited
    assert "Not audited: tiny/semi, digits, 40 labels, folder changed: 1 of 2 eligible" in printed
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "out" / "audit.arrow"))).read_all().to_pylist()
    assert [row["regret"] is None for row in table if row["stage"] == "semi"] == [False, True]


def test_a_diverged_config_is_no_choice_and_is_counted(
    changed: Path, republish: Callable[[Path], None], fails: Callable[..., str]
) -> None:
    store = Store.open(str(changed), create=False)
    [trials] = by_config(changed, selected=False).values()
    row = read_row(store, trials[0]["trial_id"])
    assert row is not None
    write_row(store, replace(row, status="diverged", reason="non-finite loss", final_loss=None))
    republish(changed)
    assert "tiny/semi, digits, 40 labels: one eligible config, and nothing to choose" in fails(audit.main, changed)


def test_a_stage_that_two_folders_share_counts_once(results: str, run: Run, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(results, twin)
    printed, _ = run(audit.main, results, str(twin))
    assert "The rule chose the best config in" in printed
    assert "of 1 stages" in printed
    assert "twin: the same trials as tiny/semi" in printed


def test_a_stage_without_a_choice_is_left_out(results: str, run: Run, tmp_path: Path) -> None:
    printed, _ = run(audit.main, results)
    assert "Not audited: tiny/finetune, digits, 40 labels: one eligible config" in printed
    assert rows(tmp_path)["finetune"]["left_out"] == "one eligible config, and nothing to choose"


def test_ties_are_said(changed: Path, republish: Callable[[Path], None], run: Run, tmp_path: Path) -> None:
    rescore(changed, republish, [0.5, 0.6], [0.6, 0.5])
    printed, _ = run(audit.main, changed)
    assert "Ties: tiny/semi, digits, 40 labels: 0 with the selected, 1 with the best." in " ".join(printed.split())
    assert (rows(tmp_path)["semi"]["num_tied_selected"], rows(tmp_path)["semi"]["num_tied_best"]) == (0, 1)
    rescore(changed, republish, [0.5, 0.6], [0.4, 0.5])
    printed, _ = run(audit.main, changed)
    assert "Ties: none." in printed


def test_each_rule_that_there_are_values_of_has_its_regret(made: Callable[..., str], run: Run, tmp_path: Path) -> None:
    # By the probe the first config is chosen, by RankMe the second and by AMI the third; one value lacks LiDAR.
    values = {
        0.1: {"probe_accuracy": 0.9, "criteria": {"rankme": 2.0, "ami": 0.1, "lidar": 1.0}, "test_accuracy": 0.60},
        0.2: {"probe_accuracy": 0.8, "criteria": {"rankme": 9.0, "ami": 0.5, "lidar": 2.0}, "test_accuracy": 0.70},
        0.3: {"probe_accuracy": 0.7, "criteria": {"rankme": 1.0, "ami": 0.6, "lidar": None}, "test_accuracy": 0.80},
    }

    def outcome(params: Any, seed: int) -> dict[str, Any]:
        found = values[params["optimizer.lr"]]
        return {**found, "test_accuracy": found["test_accuracy"] + 0.05 * seed, "final_loss": params["optimizer.lr"]}

    folder = made(("sweep", [{"optimizer.lr": lr} for lr in values], outcome))
    printed, _ = run(audit.main, folder)
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "out" / "audit_rules.arrow"))).read_all().to_pylist()
    assert {row["rule"]: row["regret"] for row in table} == {
        "probe_accuracy": pytest.approx(20),
        "train_loss": pytest.approx(20),
        "rankme": pytest.approx(10),
        "ami": pytest.approx(0),
        "vote(rankme, ami)": pytest.approx(10),  # mean ranks 2.5, 1.5 and 2
    }
    assert table[0]["rule"] == "probe_accuracy"
    [row] = rows(tmp_path).values()
    assert (row["rule"], row["regret"]) == ("probe_accuracy", pytest.approx(20))
    lines = [line.split()[0] for line in printed.partition("Regret of each rule")[2].splitlines() if "sweep" in line]
    assert lines[0] == "ami"
    assert set(lines[-2:]) == {"probe_accuracy", "train_loss"}


def test_a_rule_over_several_stages_has_their_mean_and_an_interval(
    made: Callable[..., str], run: Run, tmp_path: Path
) -> None:
    def outcome(best: float) -> Callable[[Any, int], dict[str, Any]]:
        return lambda params, seed: {
            "probe_accuracy": params["optimizer.lr"],
            "test_accuracy": 0.5 + (best if params["optimizer.lr"] == 0.1 else 0.0),
        }

    configs = [{"optimizer.lr": lr} for lr in (0.1, 0.2)]
    folder = made(("one", configs, outcome(0.10)), ("two", configs, outcome(0.20)))
    printed, _ = run(audit.main, folder)
    # The regrets are 10 and 20; t of 97.5 % at 1 degree of freedom is 12.706, the standard error 5.
    [line] = [line for line in printed.splitlines() if line.startswith("probe_accuracy") and "all 2" in line]
    assert "best in 0" in line
    assert "15.00" in line
    assert "-48.53 to +78.53" in line
