"""A race of proposed configs as its user runs it: alone, killed at every decision, and shared by two drivers."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from races import check_dropped_are_told_apart, configs_of, trained
from tiny import Finished, check_two_drivers_share, here, inline, start, tables_of
from waiting import PATIENCE

import raysl as package
from raysl.reports.stages import read_stages
from raysl.results.records.proposals import read_proposals
from raysl.results.records.stages import StageRecord
from raysl.results.storage.store import Store
from raysl.search.race import Drop
from raysl.search.race_of_proposals import expected_mean

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
    optimizer: {name: adam, lr: {loguniform: [1e-5, 1e-1]}}
    search:
      algorithm: optuna
      num_configs: 6
      sampler: {name: TPESampler, n_startup_trials: 3}
      race: {error: 0.5, first: 2}
  finetune:
    method: {name: supervised}
    start_from: semi
    epochs: 1
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
    probe: classifier
"""
PLAIN = "stages.semi.search.race=null"
NUM_TRIALS = 6 * 4


@pytest.fixture
def raced(finished: Callable[..., Finished]) -> Finished:
    return finished(EXPERIMENT, "--backend", "inline", tracked=True)


def proposals_of(results: Path) -> list[dict[str, Any]]:
    [stage] = [one for one in read_stages([str(results)]) if one.stage == "semi"]
    stage_id = stage.configs[0]["stage_id"]
    return [asdict(one) for one in read_proposals(Store.open(str(results), create=False), stage_id)]


def test_dropped_configs_have_fewer_seeds_and_the_others_all(raced: Finished) -> None:
    configs = configs_of(raced.results)
    assert len(configs) == 6
    dropped = [one for one in configs if one["dropped_in_round"] is not None]
    assert dropped
    assert dropped[0] is not configs[0]  # the first one is not tested
    for one in dropped:
        assert one["num_finished"] == one["num_seeds"] == one["dropped_in_round"] + 1 < 4
        assert not one["eligible"]
        assert f"dropped in round {one['dropped_in_round']}, at {one['num_seeds']} seeds: " in one["reason"]
    rest = [one for one in configs if one["dropped_in_round"] is None]
    assert all((one["num_seeds"], one["eligible"]) == (4, True) for one in rest)
    [selected] = [one for one in configs if one["selected"]]
    assert selected == min(rest, key=lambda one: one["final_loss_mean"])
    [after] = configs_of(raced.results, "finetune")
    assert after["num_finished"] == 4


def test_a_kept_config_is_told_as_its_mean_and_a_dropped_one_as_what_that_would_be(raced: Finished) -> None:
    configs, proposals = configs_of(raced.results), proposals_of(raced.results)
    told = {one["number"]: one["values"][0] for proposal in proposals for one in proposal["told"]}
    assert [one["params.optimizer.lr"] for one in configs] == [one["params"]["optimizer.lr"] for one in proposals]
    for number, value in told.items():
        mean, is_dropped = configs[number]["final_loss_mean"], configs[number]["dropped_in_round"] is not None
        assert (value != pytest.approx(mean)) if is_dropped else (value == pytest.approx(mean))
    trials = [trial for trial in package.read(str(raced.results)).trials.to_pylist() if trial["stage"] == "semi"]
    losses = {(trial["config_id"], trial["seed"]): trial["final_loss"] for trial in trials}
    number = next(n for n, one in enumerate(configs) if one["dropped_in_round"] is not None)
    dropped = configs[number]
    own = [losses[dropped["config_id"], seed] for seed in range(dropped["num_seeds"])]
    kept = [one for one in configs[:number] if one["dropped_in_round"] is None]
    whole = [[losses[one["config_id"], seed] for seed in range(4)] for one in kept]
    assert told[number] == pytest.approx(expected_mean(own, whole))


def test_lines_say_what_was_dropped_and_what_was_saved(raced: Finished) -> None:
    dropped = [one for one in configs_of(raced.results) if one["dropped_in_round"] is not None]
    saved = sum(4 - one["num_seeds"] for one in dropped)
    assert raced.printed.count("semi: dropped (optimizer.lr=") == len(dropped)
    assert raced.printed.count("semi: config ") == 6
    assert f"saved {saved} of {NUM_TRIALS} trials" in raced.printed.replace("\n", "")
    shown = here("show", raced.results).stdout
    assert all(f"{one['config_id']}: dropped in round" in shown for one in dropped)
    assert "not eligible" not in shown


def test_mlflow_and_the_report_tell_dropped_configs_from_failed_and_missing_ones(raced: Finished) -> None:
    check_dropped_are_told_apart(raced)


def test_the_next_best_of_seeds_is_a_config_that_was_not_dropped(raced: Finished) -> None:
    told = here("seeds", raced.results, "--format", "json")
    assert told.returncode == 0, told.stderr
    dropped = [one["config_id"] for one in configs_of(raced.results) if one["dropped_in_round"] is not None]
    assert not any(one in told.stdout for one in dropped)


def test_the_same_command_again_proposes_and_trains_nothing(raced: Finished) -> None:
    before, rows, proposals = tables_of(raced.results), trained(raced.results), proposals_of(raced.results)
    again = inline("tune", raced.file, "--results", raced.results)
    assert again.returncode == 0, again.stderr
    asked = sum(one["num_seeds"] for one in configs_of(raced.results))
    assert f"stage semi: {asked} trials, 0 to train" in again.stdout
    assert (tables_of(raced.results), trained(raced.results)) == (before, rows)
    assert proposals_of(raced.results) == proposals


@pytest.mark.slow
def test_a_search_without_a_race_gives_one_its_rows(raced: Finished, tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert inline("tune", raced.file, "--results", results, "--set", PLAIN).returncode == 0
    rows, before = trained(results), {path: path.stat().st_mtime_ns for path in (results / "rows").iterdir()}
    done = inline("tune", raced.file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    of_race = {name: [r for r in table if r["current"]] for name, table in tables_of(results).items()}
    assert of_race["configs"] == tables_of(raced.results)["configs"]
    assert trained(results) == rows | trained(raced.results)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what both have proposed is trained once
    assert proposals_of(results) == proposals_of(raced.results)


@pytest.mark.slow
def test_more_configs_go_on_from_what_was_decided(raced: Finished, tmp_path: Path) -> None:
    results = tmp_path / "results"
    fewer = ("--set", "stages.semi.search.num_configs=3")
    assert inline("tune", raced.file, "--results", results, *fewer).returncode == 0
    rows = trained(results)
    done = inline("tune", raced.file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows <= trained(results)
    now = {name: [r for r in table if r["current"]] for name, table in tables_of(results).items()}
    assert now["configs"] == tables_of(raced.results)["configs"]
    assert proposals_of(results) == proposals_of(raced.results)


class Stopping(package.Observer):
    """Ends the search at the first decision or proposal that it has not stopped at before."""

    def __init__(self) -> None:
        self.seen = set[frozenset[str]]()

    def race_decided(self, record: StageRecord, drops: Sequence[Drop], num_saved: int) -> None:
        self._stop(record)

    def config_proposed(self, record: StageRecord) -> None:
        self._stop(record)

    def _stop(self, record: StageRecord) -> None:
        asked = frozenset(member.trial_id for member in record.members)
        if asked not in self.seen:
            self.seen.add(asked)
            raise InterruptedError


@pytest.mark.slow
def test_killed_at_every_decision_it_takes_the_same_and_ends_in_the_same_tables(
    raced: Finished, tmp_path: Path
) -> None:
    results, observer, num_stops = tmp_path / "results", Stopping(), 0
    for _ in range(60):
        try:
            package.tune(raced.file, results=str(results), backend="inline", observer=observer)
        except InterruptedError:
            num_stops += 1
            continue
        break
    assert num_stops > 8  # 6 configs, and the seeds after the first two
    assert tables_of(results) == tables_of(raced.results)
    assert proposals_of(results) == proposals_of(raced.results)


@pytest.mark.alike("two drivers")
@pytest.mark.slow
def test_two_drivers_share_one_and_train_each_trial_once(raced: Finished, tmp_path: Path) -> None:
    check_two_drivers_share(raced, tmp_path / "results")
    assert proposals_of(tmp_path / "results") == proposals_of(raced.results)


@pytest.mark.slow
def test_two_trials_at_once_decide_by_their_rows_alone(raced: Finished, tmp_path: Path) -> None:
    """Proposals depend on what had ended, and are recorded; drops follow from them and the rows."""
    results = tmp_path / "results"
    driver = start(raced.file, results, "--max-concurrent", 3)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, printed
    before = tables_of(results)
    again = inline("tune", raced.file, "--results", results)
    assert again.returncode == 0, again.stderr
    assert " 0 to train" in again.stdout
    assert tables_of(results) == before


@pytest.mark.slow
def test_what_other_code_has_made_is_trained_again_and_decides_the_same(
    raced: Finished, tmp_path: Path, edit: Callable[[str], None]
) -> None:
    results = Path(shutil.copytree(raced.results, tmp_path / "results"))
    edit("raysl.methods.rotation")
    done = inline("tune", raced.file, "--results", results, "--retrain", "code")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("they are trained again") == 2
    replaced = {path.name.partition(".")[0] for path in (results / "replaced/rows").iterdir()}
    assert replaced == trained(raced.results)
    assert tables_of(results)["configs"] == tables_of(raced.results)["configs"]
    assert proposals_of(results) == proposals_of(raced.results)
