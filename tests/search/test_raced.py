"""A race over a results folder, without training: rows are written as if trials had ended."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from ended_rows import ended_as
from tiny import of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData
from raysl.launch.coordination import claim_queue
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.trial_queue import TrialQueue, done_rows
from raysl.results.records.rows import Status, TrialRow, write_row
from raysl.results.storage.store import Store
from raysl.search.config_means import summarise
from raysl.search.raced import RacedSearch
from raysl.search.selection import select
from raysl.search.trials import Trial, config_id, expand, stage_id

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
LR = "stages.semi.optimizer.lr={grid: [1e-4, 1e-3, 1e-2]}"
RACE = "stages.semi.search={race: {error: 0.2, first: 2}}"
LOSSES = {1e-4: 9.0, 1e-3: 1.0, 1e-2: 1.05}


def search_of(folder: Path, *overrides: str) -> RacedSearch:
    experiment = load(write(folder), overrides=["seeds=5", LR, RACE, *overrides])
    return RacedSearch(experiment, experiment.stages[0], of_stages(experiment, DATA), {}, 1.0)


def row_of(trial: Trial, status: Status = "finished") -> TrialRow:
    seed = trial.spec.seed
    loss = LOSSES[trial.params["optimizer.lr"]] + seed + 0.01 * ((seed * 7 + len(str(trial.params))) % 5)
    return ended_as(trial, status, loss)


def num_seeds(search: RacedSearch) -> dict[float, int]:
    found: dict[float, int] = {}
    for trial in search.known:
        found[trial.params["optimizer.lr"]] = found.get(trial.params["optimizer.lr"], 0) + 1
    return found


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_queue, "LOOKS", (0.0, 0.0))


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[tuple[Leases, Leases]]:
    store = Store.open(str(tmp_path / "results"), create=True)
    with Leases(store) as own, Leases(store) as other:
        yield own, other


def run(queue: TrialQueue, failing: Mapping[str, Status] | None = None) -> list[str]:
    """End a queue's trials, one after another, and return their ids."""
    handed: list[str] = []
    while not queue.is_exhausted:
        if (trial := queue.next()) is not None:
            handed.append(trial.spec.id)
            row = row_of(trial, (failing or {}).get(trial.spec.id, "finished"))
            write_row(queue._store, row)
            queue.ended(row)
    return handed


def test_trials_and_configs_have_the_ids_of_the_whole_grid_and_the_stage_has_its_own(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    grid = load(write(tmp_path), overrides=["seeds=5", LR])
    stage, datas = grid.stages[0], of_stages(grid, DATA)
    whole = expand(grid, stage, datas, {})
    assert [trial.spec.id for trial in search.every] == [trial.spec.id for trial in whole]
    assert {trial.config_id for trial in search.every} == {config_id(config) for config in stage.configs}
    others = [search_of(tmp_path, f"stages.semi.search.race.{change}") for change in ("error=0.1", "first=3")]
    ids = [search.record.stage_id, stage_id(grid, stage, datas, {}), *(other.record.stage_id for other in others)]
    assert len(set(ids)) == 4


def test_rounds_are_asked_for_one_by_one(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    search, asked = search_of(tmp_path), list[tuple[int, int, int]]()
    queue = TrialQueue(
        search.known,
        [search],
        {},
        leases[0],
        proposed=lambda one: asked.append((len(one.known), one.most, len(one.news))),  # type: ignore[union-attr]
    )
    assert search.most == 15
    handed = run(queue)
    assert num_seeds(search) == {1e-4: 2, 1e-3: 5, 1e-2: 5}
    assert asked == [(8, 12, 1), (10, 12, 0), (12, 12, 0)]
    assert len(handed) == len(set(handed)) == 12
    assert search.is_over


def test_a_race_waits_for_the_last_trial_of_a_round(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    search = search_of(tmp_path)
    queue = TrialQueue(search.known, [search], {}, leases[0])
    first = [queue.next() for _ in range(6)]
    assert all(first)
    for trial in first[:0:-1]:
        assert trial is not None
        assert not queue.peek()
        assert not queue.is_exhausted
        queue.ended(row_of(trial))
    assert queue.next() is None
    assert first[0] is not None
    queue.ended(row_of(first[0]))
    assert queue.peek()


def test_two_drivers_take_the_same_decisions_and_train_each_trial_once(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    searches = [search_of(tmp_path) for _ in leases]
    queues = [TrialQueue(s.known, [s], {}, own) for s, own in zip(searches, leases, strict=True)]
    handed: list[str] = []
    ends = time.monotonic() + 60
    while any(not queue.is_exhausted for queue in queues):
        assert time.monotonic() < ends
        for queue in queues:
            if (trial := queue.next()) is not None:
                handed.append(trial.spec.id)
                write_row(queue._store, row_of(trial))
                queue.ended(row_of(trial))
    assert len(handed) == len(set(handed)) == 12
    assert searches[0].standing == searches[1].standing
    assert searches[0].record == searches[1].record


@pytest.mark.parametrize("status", ["failed", "diverged", "stopped"])
def test_a_config_with_a_seed_that_did_not_finish_gets_no_more_and_is_not_dropped(
    tmp_path: Path, leases: tuple[Leases, Leases], status: Status
) -> None:
    search = search_of(tmp_path)
    gone = next(t for t in search.every if t.params["optimizer.lr"] == 1e-3 and t.spec.seed == 2)
    queue = TrialQueue(search.known, [search], {}, leases[0])
    run(queue, {gone.spec.id: status})
    assert num_seeds(search)[1e-3] == 3
    summaries = {one.config_id: one for one in summarise(search.record, queue.rows, {})}
    assert (summaries[gone.config_id].eligible, summaries[gone.config_id].dropped_in_round) == (False, None)
    selection = select(search.record, queue.rows, 0.0)
    assert selection.params == {"optimizer.lr": 1e-2}
    assert len(selection.trial_ids) == 5


def test_rows_that_are_there_decide_at_once(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    search.replay({trial.spec.id: row_of(trial) for trial in search.every})
    assert search.is_over
    assert num_seeds(search) == {1e-4: 2, 1e-3: 5, 1e-2: 5}
    assert search.num_trials_left == 0


def test_a_record_that_is_behind_its_rows_decides_no_more_than_it_lists(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    before = search.record
    rows = {trial.spec.id: row_of(trial) for trial in search.every}
    search.replay(rows)
    by_id = {one.config_id: one.dropped_in_round for one in summarise(search.record, rows, {})}
    assert {one.config_id: one.dropped_in_round for one in summarise(before, rows, {})} == by_id
    assert sorted(by_id.values(), key=str) == [1, None, None]


def test_the_selection_says_what_the_race_dropped_and_counts_no_dropped_config(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    rows = {trial.spec.id: row_of(trial) for trial in search.every}
    search.replay(rows)
    selection = select(search.record, rows, 0.0)
    assert selection.params == {"optimizer.lr": 1e-3}
    assert [one.value for one in selection.ranking] == sorted(one.value for one in selection.ranking)
    assert "a race dropped 1 of 3 configs" in selection.reason
    assert "saved 3 of 15 trials" in selection.reason
    [dropped] = selection.ineligible
    assert dropped.reason.startswith("dropped in round 1, at 2 seeds: mean final training loss ")
    assert "(optimizer.lr=0.001)" in dropped.reason


def test_a_rule_whose_highest_value_is_best_races_by_that(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.select=probe_accuracy")
    rows = {}
    for trial in search.every:
        row = row_of(trial)
        assert row.final_loss is not None
        rows[trial.spec.id] = replace(row, probe={"accuracy": 1 - row.final_loss / 100})
    search.replay(rows)
    assert num_seeds(search) == {1e-4: 2, 1e-3: 5, 1e-2: 5}
    assert select(search.record, rows, 0.0).params == {"optimizer.lr": 1e-3}


def test_a_race_by_a_criterion_waits_until_it_is_measured(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.select=rankme")
    store = Store.open(str(tmp_path / "results"), create=True)
    for trial in search.every:
        write_row(store, row_of(trial))
    assert done_rows(store, search.every) == {}
    for trial in search.every:
        row = row_of(trial)
        assert row.final_loss is not None
        write_row(store, replace(row, criteria={"rankme": 100 - row.final_loss}))
    search.replay(done_rows(store, search.every))
    assert num_seeds(search) == {1e-4: 2, 1e-3: 5, 1e-2: 5}


def test_a_dropped_config_is_not_in_the_tie_set(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.ties=cheapest")
    rows = {trial.spec.id: row_of(trial) for trial in search.every}
    search.replay(rows)
    [dropped] = [one for one in summarise(search.record, rows, {}) if one.dropped_in_round]
    assert dropped.in_tie_set is False
    assert "a race dropped 1 of 3 configs" in select(search.record, rows, 0.0).reason
