"""A cross-fitted stage over rows, without training: rows are written as if trials had ended."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from ended_rows import ended_as
from tiny import of_stages, write

from raysl.config import load
from raysl.console.trial_places import folds_text
from raysl.data.settings import TrialData
from raysl.launch.coordination import claim_queue
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.trial_queue import TrialQueue, done_rows
from raysl.results.records.rows import Status, TrialRow, write_row
from raysl.results.records.stages import SelectionRecord, trial_ids
from raysl.results.storage.store import Store
from raysl.search.config_means import summarise
from raysl.search.cross_fitted import CrossFittedSearch
from raysl.search.selection import select
from raysl.search.trials import Trial, config_id, expand, stage_id

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
GRID = ["seeds=2", "stages.semi.optimizer.lr={grid: [1e-4, 1e-3, 1e-2]}"]
CROSS_FIT = "stages.semi.select={cross_fit: 4}"
BEST, NEXT, WORST = 1e-3, 1e-2, 1e-4
VALUES = {WORST: 0.5, BEST: 0.9, NEXT: 0.8}


def search_of(folder: Path, *overrides: str) -> CrossFittedSearch:
    experiment = load(write(folder), overrides=[*GRID, CROSS_FIT, *overrides])
    return CrossFittedSearch(experiment, experiment.stages[0], of_stages(experiment, DATA), {}, 1.0)


def row_of(trial: Trial, status: Status = "finished") -> TrialRow:
    row = replace(ended_as(trial, status, 0.5), reason="" if status == "finished" else "as told")
    if trial.spec.fold is None or status != "finished":
        return replace(row, probe={"accuracy": 1.0} if status == "finished" else {})
    value = VALUES[trial.params["optimizer.lr"]] + 0.02 * trial.spec.fold.number - 0.01 * trial.spec.seed
    return replace(row, probe={"accuracy": value}, seconds=2.0 + trial.spec.fold.number)


Fails = Callable[[Trial], Status]


def fine(trial: Trial) -> Status:
    return "finished"


def diverging(lr: float, fold: int | None, seed: int = 1) -> Fails:
    def status(trial: Trial) -> Status:
        number = None if trial.spec.fold is None else trial.spec.fold.number
        own = (trial.params["optimizer.lr"], number, trial.spec.seed)
        return "diverged" if own == (lr, fold, seed) else "finished"

    return status


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_queue, "LOOKS", (0.0, 0.0))


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Leases]:
    with Leases(Store.open(str(tmp_path / "results"), create=True)) as own:
        yield own


def run(search: CrossFittedSearch, leases: Leases, status: Fails = fine, most: int = 1000) -> list[Trial]:
    """End trials as a driver does that begins, or begins again, one after another; return them."""
    rows = done_rows(leases.store, search.every)
    search.replay(rows)
    queue = TrialQueue([t for t in search.known if t.spec.id not in rows], [search], rows, leases)
    handed: list[Trial] = []
    while not queue.is_exhausted and len(handed) < most:
        if (trial := queue.next()) is not None:
            handed.append(trial)
            row = row_of(trial, status(trial))
            write_row(leases.store, row)
            queue.ended(row)
    return handed


def selected(search: CrossFittedSearch, leases: Leases) -> SelectionRecord:
    rows = {trial.spec.id: row for trial in search.known if (row := leases_row(leases, trial)) is not None}
    return select(search.record, rows, 1.0)


def leases_row(leases: Leases, trial: Trial) -> TrialRow | None:
    return done_rows(leases.store, [trial]).get(trial.spec.id)


def lrs(trials: list[Trial], *, whole: bool) -> list[float]:
    return [trial.params["optimizer.lr"] for trial in trials if (trial.spec.fold is None) == whole]


def test_trials_with_all_labels_and_configs_have_the_ids_of_any_rule_and_the_stage_has_its_own(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    plain = load(write(tmp_path), overrides=GRID)
    stage, datas = plain.stages[0], of_stages(plain, DATA)
    whole = expand(plain, stage, datas, {})
    assert [trial.spec.id for trial in search.every if trial.spec.fold is None] == [trial.spec.id for trial in whole]
    assert {trial.config_id for trial in search.every} == {config_id(config) for config in stage.configs}
    other = search_of(tmp_path, "stages.semi.select={cross_fit: 2}")
    assert len({search.record.stage_id, other.record.stage_id, stage_id(plain, stage, datas, {})}) == 3
    assert not trial_ids([other.record]) & {i for one in search.record.members for i in one.folds}
    assert len(trial_ids([search.record])) == 3 * 2 * (4 + 1)


def test_folds_come_first_and_then_the_best_config_alone_with_all_labels(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    assert (len(search.known), search.num_trials_left) == (24, 2)
    ended = run(search, leases)
    assert [trial.spec.fold is None for trial in ended] == [False] * 24 + [True] * 2
    assert lrs(ended, whole=False) == [lr for lr in (WORST, BEST, NEXT) for _ in range(8)]
    assert lrs(ended, whole=True) == [BEST, BEST]
    assert (search.is_over, search.num_trials_left) == (True, 0)
    chosen = selected(search, leases)
    assert chosen.params == {"optimizer.lr": BEST}
    assert list(chosen.trial_ids) == [trial.spec.id for trial in ended[24:]]
    assert chosen.rule == "cross_fit(4)"
    assert chosen.reason.startswith("highest mean cross-fitted accuracy (4 folds) over the seeds: 0.925 (next: 0.825)")


def test_a_seed_counts_once_with_the_mean_over_its_folds(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    run(search, leases)
    rows = done_rows(leases.store, search.every)
    best = next(one for one in summarise(search.record, rows, {}) if "final_loss" in one.means)
    assert (best.num_seeds, best.num_finished, best.eligible) == (2, 2, True)
    assert best.means["cross_fit_accuracy"] == pytest.approx(0.925)  # seeds: 0.93 and 0.92
    assert best.stds["cross_fit_accuracy"] == pytest.approx(0.01 / 2**0.5)
    assert best.means["seconds"] == 3.5  # of a fold: 2, 3, 4 and 5
    others = [one for one in summarise(search.record, rows, {}) if one is not best and "final_loss" not in one.means]
    assert all(one.eligible and {"cross_fit_accuracy", "seconds"} == set(one.means) for one in others)


def test_a_config_without_all_its_folds_has_no_value(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    run(search, leases, most=15)
    rows = done_rows(leases.store, search.every)
    first, second, third = summarise(search.record, rows, {})
    assert first.eligible
    assert first.means["cross_fit_accuracy"] == pytest.approx(0.525)
    assert (second.reason, second.num_finished) == ("fold 3 of seed 1 is not trained yet", 1)
    assert third.reason == "fold 0 of seed 0 is not trained yet; fold 0 of seed 1 is not trained yet"
    assert not second.eligible
    assert not {**second.means, **third.means}


def test_the_order_of_rows_decides_nothing(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    run(search, leases)
    rows = done_rows(leases.store, search.every)
    again: Mapping[str, TrialRow] = dict(reversed(rows.items()))
    other = search_of(tmp_path)
    other.replay(again)
    assert [trial.spec.id for trial in other.known] == [trial.spec.id for trial in search.known]
    assert select(other.record, again, 1.0) == select(search.record, rows, 1.0)


@pytest.mark.parametrize("most", [0, 1, 8, 23, 24, 25, 26])
def test_one_that_ends_at_any_trial_goes_on_to_the_same(most: int, tmp_path: Path, leases: Leases) -> None:
    before = run(search_of(tmp_path), leases, most=most)
    search = search_of(tmp_path)
    after = run(search, leases)
    assert len(before) + len(after) == 26
    assert len({trial.spec.id for trial in (*before, *after)}) == 26
    assert lrs([*before, *after], whole=True) == [BEST, BEST]
    assert run(search_of(tmp_path), leases) == []


def test_a_config_that_lost_a_fold_is_not_eligible(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    ended = run(search, leases, diverging(BEST, fold=2))
    assert lrs(ended, whole=True) == [NEXT, NEXT]
    chosen = selected(search, leases)
    assert chosen.params == {"optimizer.lr": NEXT}
    assert [one.reason for one in chosen.ineligible] == ["fold 2 of seed 1 diverged (as told)"]


def test_if_the_best_fails_with_all_labels_the_next_is_trained(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    ended = run(search, leases, diverging(BEST, fold=None))
    assert lrs(ended, whole=True) == [BEST, BEST, NEXT, NEXT]
    chosen = selected(search, leases)
    assert chosen.params == {"optimizer.lr": NEXT}
    assert [one.reason for one in chosen.ineligible] == ["seed 1 diverged (as told)"]
    again = search_of(tmp_path)
    assert run(again, leases) == []
    assert selected(again, leases) == chosen


def test_a_crash_of_the_best_is_tried_again_by_the_next_search(tmp_path: Path, leases: Leases) -> None:
    def crashing(trial: Trial) -> Status:
        return "failed" if trial.spec.fold is None and trial.params["optimizer.lr"] == BEST else "finished"

    assert lrs(run(search_of(tmp_path), leases, crashing), whole=True) == [BEST, BEST, NEXT, NEXT]
    search = search_of(tmp_path)
    assert lrs(run(search, leases), whole=True) == [BEST, BEST]
    assert selected(search, leases).params == {"optimizer.lr": BEST}


def test_nothing_is_trained_with_all_labels_if_every_config_lost_a_fold(tmp_path: Path, leases: Leases) -> None:
    def failing(trial: Trial) -> Status:
        return "collapsed" if trial.spec.fold is not None and trial.spec.fold.number == 0 else "finished"

    search = search_of(tmp_path)
    assert len(run(search, leases, failing)) == 24
    assert search.is_over
    assert selected(search, leases).config_id is None


def test_rows_of_another_rule_count_but_do_not_stand_for_folds(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    for trial in (one for one in search.every if one.spec.fold is None):
        write_row(leases.store, row_of(trial))
    ended = run(search, leases)
    assert len(ended) == 24
    assert selected(search, leases).params == {"optimizer.lr": BEST}
    assert len(search.known) == 30  # all are there to be scored


def test_the_cheapest_of_the_tie_set_is_taken_by_the_time_of_folds(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path, "stages.semi.ties=cheapest")

    def noisy(trial: Trial) -> TrialRow:
        row = row_of(trial)
        if trial.spec.fold is None:
            return replace(row, seconds=100.0)
        return replace(row, seconds=1.0 if trial.params["optimizer.lr"] == NEXT else 9.0)

    rows = {trial.spec.id: noisy(trial) for trial in search.every if trial.spec.fold is not None}
    tied = {i: replace(row, probe={"accuracy": 0.5 + 0.1 * (row.seed % 2)}) for i, row in rows.items()}
    assert select(search.record, tied, 1.0).params == {"optimizer.lr": NEXT}


def test_the_chosen_config_is_not_said_to_have_the_highest_accuracy(tmp_path: Path) -> None:
    """It may be the cheapest of the tie set, or the next best."""
    search = search_of(tmp_path, "stages.semi.ties=cheapest")
    rows = {trial.spec.id: row_of(trial) for trial in search.every}
    members = [one for one in search.record.members if one.params["optimizer.lr"] == NEXT]
    text = folds_text(search.record, members, rows)
    assert text == (
        "(optimizer.lr=0.01) is chosen by its folds, mean cross-fitted accuracy (4 folds) 0.825; it is trained "
        "with all labels (2 seeds)"
    )


def test_folds_are_probed_and_keep_no_milestone_and_no_criterion(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.milestones=[2]", "stages.semi.criteria=[rankme]")
    for trial in search.every:
        is_fold = trial.spec.fold is not None
        assert trial.needs_probe is is_fold
        assert (trial.milestones, trial.criteria) == (((), ()) if is_fold else ((2,), ("rankme",)))


def test_losses_are_compared_within_a_fold(tmp_path: Path) -> None:
    search = search_of(tmp_path, "stages.semi.stop={scheduler: median}")
    cohorts: dict[str, set[tuple[int, int | None]]] = {}
    for trial in search.every:
        number = None if trial.spec.fold is None else trial.spec.fold.number
        cohorts.setdefault(trial.cohort, set()).add((trial.spec.seed, number))
    assert all(len(own) == 1 for own in cohorts.values())
    assert len(cohorts) == 2 * (4 + 1)


def test_what_may_follow_is_what_the_selected_config_lacks_at_most(tmp_path: Path, leases: Leases) -> None:
    search = search_of(tmp_path)
    own = [trial for trial in search.every if trial.spec.fold is None]
    for trial in (one for one in own if one.spec.seed == 0 or one.params["optimizer.lr"] == BEST):
        write_row(leases.store, row_of(trial))
    search.replay(done_rows(leases.store, search.every))
    assert search.num_trials_left == 1
    assert run(search, leases, most=1000)[-1].spec.fold is not None
    assert search.num_trials_left == 0
