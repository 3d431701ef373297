"""A race as its user runs it: alone, killed at every decision, beside a whole grid, and shared by two drivers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from races import check_dropped_are_told_apart, configs_of, trained
from tiny import Finished, check_two_drivers_share, here, inline, tables_of

import raysl as package
from raysl.results.records.stages import StageRecord
from raysl.search.race import Drop

EXPERIMENT = """\
name: tiny
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: small_resnet, features: 16}
seeds: 4
resources: {checkpoint_seconds: 0}
stages:
  semi:
    method: {name: rotation}
    epochs: 2
    batch_size: 32
    optimizer: {name: adam, lr: {grid: [1e-5, 1e-2, 1.1e-2, 1e-4]}}
    search: {race: {error: 0.5, first: 2}}
  finetune:
    method: {name: supervised}
    start_from: semi
    epochs: 1
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
    probe: classifier
"""
GRID = "stages.semi.search=null"


@pytest.fixture
def raced(finished: Callable[..., Finished]) -> Finished:
    return finished(EXPERIMENT, "--backend", "inline", tracked=True)


def decided(drops: Sequence[Drop]) -> list[tuple[str, int]]:
    return [(drop.config_id, drop.num_seeds) for drop in drops]


def test_dropped_configs_keep_their_rows_and_count_as_neither_failed_nor_pending(raced: Finished) -> None:
    configs = configs_of(raced.results)
    dropped = [one for one in configs if one["dropped_in_round"] is not None]
    assert dropped
    for one in dropped:
        assert one["num_finished"] == one["num_seeds"] < 4
        assert not one["eligible"]
        assert f"dropped in round {one['dropped_in_round']}, at {one['num_seeds']} seeds: " in one["reason"]
        assert one["final_loss_mean"] is not None
    rest = [one for one in configs if one["dropped_in_round"] is None]
    assert all((one["num_seeds"], one["eligible"]) == (4, True) for one in rest)
    trials = [trial for trial in package.read(str(raced.results)).trials.to_pylist() if trial["stage"] == "semi"]
    assert {trial["status"] for trial in trials} == {"finished"}
    assert len(trials) == sum(one["num_seeds"] for one in configs)


def test_the_selected_config_has_all_seeds_and_the_next_stage_starts_from_each(raced: Finished) -> None:
    [selected] = [one for one in configs_of(raced.results) if one["selected"]]
    assert selected["num_seeds"] == 4
    best = min((one for one in configs_of(raced.results) if one["eligible"]), key=lambda one: one["final_loss_mean"])
    assert selected == best
    [after] = configs_of(raced.results, "finetune")
    assert after["num_finished"] == 4


def test_lines_say_what_was_dropped_and_what_was_saved(raced: Finished) -> None:
    dropped = [one for one in configs_of(raced.results) if one["dropped_in_round"] is not None]
    saved = sum(4 - one["num_seeds"] for one in dropped)
    assert raced.printed.count("semi: dropped (optimizer.lr=") == len(dropped)
    assert f"saved {saved} of 16 trials" in raced.printed.replace("\n", "")
    assert f"/{16 - saved}] optimizer.lr" in raced.printed  # the total of the last lines
    shown = here("show", raced.results).stdout
    assert all(f"{one['config_id']}: dropped in round" in shown for one in dropped)
    assert "not eligible" not in shown


def test_mlflow_and_the_report_tell_dropped_configs_from_failed_and_missing_ones(raced: Finished) -> None:
    check_dropped_are_told_apart(raced)


def test_the_same_command_again_trains_nothing(raced: Finished) -> None:
    before, rows = tables_of(raced.results), trained(raced.results)
    again = inline("tune", raced.file, "--results", raced.results)
    assert again.returncode == 0, again.stderr
    asked = sum(one["num_seeds"] for one in configs_of(raced.results))
    assert f"stage semi: {asked} trials, 0 to train" in again.stdout
    assert (tables_of(raced.results), trained(raced.results)) == (before, rows)


@pytest.mark.slow
def test_a_whole_grid_gives_a_race_all_its_rows_and_takes_those_of_one(raced: Finished, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert inline("tune", raced.file, "--results", results, "--set", GRID).returncode == 0
    rows = trained(results)
    done = inline("tune", raced.file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage semi:" in done.stdout
    assert trained(results) == rows
    of_race = {name: [r for r in table if r["current"]] for name, table in tables_of(results).items()}
    assert of_race["configs"] == tables_of(raced.results)["configs"]
    # And the other way round: the grid trains only what the race has left out.
    back = inline("tune", raced.file, "--results", results, "--set", GRID)
    assert "stage semi: 16 trials, 0 to train" in back.stdout
    assert {one["dropped_in_round"] for one in configs_of(results)} == {None}


class Stopping(package.Observer):
    """Ends the search at a race's first decision that it has not stopped at before."""

    def __init__(self, seen: list[list[tuple[str, int]]]) -> None:
        self.seen, self.now = seen, 0

    def race_decided(self, record: StageRecord, drops: Sequence[Drop], num_saved: int) -> None:
        self.seen.append(decided(drops))
        raise InterruptedError


@pytest.mark.slow
def test_killed_at_every_decision_it_takes_the_same_and_ends_in_the_same_tables(
    raced: Finished, tmp_path: Path
) -> None:
    results, seen = tmp_path / "results", list[list[tuple[str, int]]]()
    for _ in range(10):
        try:
            package.tune(raced.file, results=str(results), backend="inline", observer=Stopping(seen))
        except InterruptedError:
            continue
        break
    assert len(seen) >= 2  # one after 2 seeds, one after 3
    assert tables_of(results) == tables_of(raced.results)
    whole = {one["config_id"]: one["num_seeds"] for one in configs_of(results) if one["dropped_in_round"] is not None}
    assert dict(one for drops in seen for one in drops) == whole


@pytest.mark.alike("two drivers")
@pytest.mark.slow
def test_two_drivers_share_one_and_train_each_trial_once(raced: Finished, tmp_path: Path) -> None:
    check_two_drivers_share(raced, tmp_path / "results")
