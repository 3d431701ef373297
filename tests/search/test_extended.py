"""A grid that grows, over rows that are written as if trials had ended; and one real search."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ended_rows import ended_as
from tiny import here, inline, of_stages, write

import raysl
from raysl.config import load
from raysl.data.settings import TrialData
from raysl.results.records.rows import TrialRow
from raysl.search.extended import ExtendedSearch
from raysl.search.selection import select
from raysl.search.trials import expand, stage_id

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
LR = "stages.semi.optimizer.lr={grid: [1e-4, 1e-3, 1e-2]}"
EXTEND = "stages.semi.search={extend: true}"
LOSS = Callable[[float], float]


def search_of(folder: Path, *overrides: str) -> ExtendedSearch:
    experiment = load(write(folder), overrides=["seeds=2", LR, EXTEND, *overrides])
    return ExtendedSearch(experiment, experiment.stages[0], of_stages(experiment, DATA), {}, 1.0)


def run(search: ExtendedSearch, loss: LOSS, key: str = "optimizer.lr") -> list[float]:
    """Train until the search is over, and return the values that were added, in order."""
    rows: dict[str, TrialRow] = {}
    added: list[float] = []
    new = tuple(search.known)
    while new:
        for trial in new:
            assert search.propose(rows) == (), "a trial has not ended"
            rows[trial.spec.id] = ended_as(trial, loss=loss(trial.params[key]))
        new = search.propose(rows)
        added += search.news.values()
    assert search.is_over
    assert [member.trial_id for member in search.record.members] == [trial.spec.id for trial in search.known]
    return added


def test_a_best_value_inside_adds_nothing(tmp_path: Path) -> None:
    assert run(search_of(tmp_path), lambda lr: abs(lr - 1e-3)) == []


@pytest.mark.parametrize(("best", "added"), [(0.1, [0.1, 1.0]), (1e-5, [1e-5, 1e-6]), (1e3, [0.1, 1.0, 10.0])])
def test_values_are_added_until_the_best_is_inside_or_there_are_three(
    tmp_path: Path, best: float, added: list[float]
) -> None:
    assert run(search_of(tmp_path), lambda lr: max(lr / best, best / lr)) == added


def test_a_limit_of_the_settings_is_not_passed(tmp_path: Path) -> None:
    def search() -> ExtendedSearch:
        lr = "stages.semi.optimizer.lr=0.01"
        return search_of(tmp_path, lr, "stages.semi.optimizer.weight_decay={grid: [0.1, 0.2, 0.3]}")

    assert run(search(), lambda decay: decay, "optimizer.weight_decay") == [0.0]
    assert run(search(), lambda decay: -decay, "optimizer.weight_decay") == [0.4, 0.5, 0.6]


def test_a_value_comes_with_all_values_of_the_other_keys(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.batch_size={grid: [16, 32]}")
    assert run(search, lambda lr: max(lr / 0.1, 0.1 / lr)) == [0.1, 1.0]
    points = [(t.params["optimizer.lr"], t.params["batch_size"], t.spec.seed) for t in search.known]
    assert len(points) == len(set(points)) == 5 * 2 * 2
    assert {lr for lr, *_ in points[:12]} == {1e-4, 1e-3, 1e-2}, "what is added comes after the grid"


def test_two_keys_grow_in_one_round_with_all_their_combinations(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.optimizer.weight_decay={grid: [0.1, 0.2]}")
    rows = {
        t.spec.id: ended_as(t, loss=t.params["optimizer.weight_decay"] - t.params["optimizer.lr"]) for t in search.known
    }
    added = search.propose(rows)
    assert search.news == {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.05}
    points = {(t.params["optimizer.weight_decay"], t.params["optimizer.lr"]) for t in added}
    assert points == {(0.05, lr) for lr in (1e-4, 1e-3, 1e-2, 0.1)} | {(0.1, 0.1), (0.2, 0.1)}


def test_training_times_do_not_decide_what_is_added(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.ties=cheapest")
    rows = {
        trial.spec.id: replace(
            ended_as(trial, loss=trial.spec.seed - lr * (1 + trial.spec.seed)), seconds=1.0 + 1e3 * abs(lr - 1e-3)
        )
        for trial in search.known
        for lr in [trial.params["optimizer.lr"]]
    }
    assert select(search.record, rows, 1.0).params == {"optimizer.lr": 1e-3}, "the cheapest is inside"
    assert {trial.params["optimizer.lr"] for trial in search.propose(rows)} == {0.1}


def test_no_value_is_added_that_makes_more_configs_or_trials_than_a_stage_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysl.search.grid_ends.MOST_CONFIGS", 4)
    assert run(search_of(tmp_path), lambda lr: -lr) == [0.1]
    monkeypatch.undo()
    monkeypatch.setattr("raysl.search.grid_ends.MOST_TRIALS", 10)  # of two seeds
    assert run(search_of(tmp_path), lambda lr: -lr) == [0.1, 1.0]


def test_no_config_that_finished_adds_nothing(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    assert search.propose({trial.spec.id: ended_as(trial, "diverged") for trial in search.known}) == ()
    assert search.is_over


def test_trials_have_the_ids_of_the_grid_and_the_stage_has_its_own(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    plain = load(write(tmp_path), overrides=["seeds=2", LR])
    datas = of_stages(plain, DATA)
    assert [t.spec.id for t in search.known] == [t.spec.id for t in expand(plain, plain.stages[0], datas, {})]
    assert search.record.stage_id != stage_id(plain, plain.stages[0], datas, {})


@pytest.mark.slow
def test_a_search_goes_beyond_its_grid_and_is_not_repeated(tmp_path: Path) -> None:
    file, results = write(tmp_path), tmp_path / "results"
    small = "stages.semi.optimizer.lr={grid: [1e-5, 1e-4]}"
    arguments = ["tune", file, "--results", results, "--set", "seeds=2", "--set", small, "--set", EXTEND]
    assert "4 trials, and more while the best is at an end of its grid" in here(*arguments, "--dry-run").stdout
    ended = inline(*arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "the best is at an end of its grid: optimizer.lr=0.001 added, 2 more trials" in ended.stdout
    tables = raysl.read(str(results)).current()
    configs = [row for row in tables.configs.to_pylist() if row["stage"] == "semi"]
    assert {row["params.optimizer.lr"] for row in configs} >= {1e-5, 1e-4, 1e-3, 1e-2}
    losses = {row["params.optimizer.lr"]: row["final_loss_mean"] for row in configs}
    assert [row["params.optimizer.lr"] for row in configs if row["selected"]] == [min(losses, key=losses.__getitem__)]
    again = inline(*arguments)
    assert f"{2 * len(configs)} trials, 0 to train" in again.stdout
    assert raysl.read(str(results)).current().trials.equals(tables.trials)
