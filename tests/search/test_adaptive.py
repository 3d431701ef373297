"""An adaptive search over a results folder, without training: rows are written as if trials had ended."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ended_rows import ended_as
from rich.console import Console
from tiny import of_stages, write

from raysl.api.costing import expected
from raysl.config import load
from raysl.console.live import Display
from raysl.data.settings import TrialData
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.trial_queue import TrialQueue, is_done, united
from raysl.results.records.proposals import Told
from raysl.results.records.rows import TrialRow, write_row
from raysl.results.storage.store import Store
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.trials import Trial, expand, stage_id
from raysl.training.early_stopping import EarlyStoppingCohort

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
LR = "stages.semi.optimizer.lr={loguniform: [1e-4, 1e-1]}"
STOP = "stages.semi.stop={scheduler: median, grace: 2}"


def search_of(folder: Path, *overrides: str, num_configs: int = 5) -> AdaptiveSearch:
    optuna = f"stages.semi.search={{algorithm: optuna, num_configs: {num_configs}}}"
    experiment = load(write(folder), overrides=[LR, optuna, *overrides])
    store = Store.open(str(folder / "results"), create=True)
    return AdaptiveSearch(experiment, experiment.stages[0], of_stages(experiment, DATA), {}, store, 1.0)


def rows_of(trials: Sequence[Trial], *statuses: str) -> dict[str, TrialRow]:
    return {t.spec.id: ended_as(t, status, 0.1 + t.spec.seed) for t, status in zip(trials, statuses, strict=False)}


def test_a_config_is_told_once_and_when_all_its_seeds_have_ended(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    first = search.propose({})
    rows = rows_of(first, "finished")  # of one seed of two
    second = search.propose(rows)
    rows |= rows_of(first, "finished", "finished") | rows_of(second, "finished", "diverged")
    for _ in range(2):
        search.propose(rows)
    assert [proposal.told for proposal in search.sampler.proposals] == [
        (), (), (Told(0, "finished", (pytest.approx(0.6),)), Told(1, "diverged")), (),
    ]  # fmt: skip


def test_what_was_told_is_not_told_again_by_the_search_that_goes_on(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    rows = rows_of(search.propose({}), "finished", "finished")
    search.propose(rows)
    again = search_of(tmp_path)
    again.propose(rows)
    assert [len(proposal.told) for proposal in again.sampler.proposals] == [0, 1, 0]


def test_fewer_configs_are_the_beginning_and_more_go_on(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    while search.propose({}):
        pass
    fewer, more = search_of(tmp_path, num_configs=2), search_of(tmp_path, num_configs=8)
    assert fewer.trials == search.trials[:2]
    assert (fewer.num_left, more.num_left) == (0, 3)
    assert more.propose({})
    assert fewer.record.stage_id == search.record.stage_id == more.record.stage_id


@pytest.mark.parametrize(
    "other", ["stages.semi.optimizer.lr={loguniform: [1e-4, 1]}", STOP, "stages.semi.search.seed=1"]
)
def test_another_space_rule_of_stopping_or_seed_is_another_search(tmp_path: Path, other: str) -> None:
    assert search_of(tmp_path, other).record.stage_id != search_of(tmp_path).record.stage_id


def test_proposed_trials_race_those_of_their_stage_and_seed(tmp_path: Path) -> None:
    search = search_of(tmp_path, STOP)
    races = [[trial.cohort for trial in search.propose({})] for _ in range(2)]
    assert races[0] == races[1] == [f"{search.record.stage_id}-{seed}" for seed in (0, 1)]


def test_rules_of_stopping_tell_stages_of_the_same_trials_apart(tmp_path: Path) -> None:
    found = [load(write(tmp_path), overrides=more) for more in ([], [STOP])]
    assert len({stage_id(e, e.stages[0], of_stages(e, DATA), {}) for e in found}) == 2


def test_trials_that_two_want_are_kept_for_both(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=[STOP, "stages.semi.milestones=[1]"])
    trial = expand(experiment, experiment.stages[0], of_stages(experiment, DATA), {})[0]
    other = replace(trial, stop=None, milestones=(3,))
    for pair in ((trial, other), (other, trial)):
        [both] = united(pair)
        assert (both.stop, both.milestones) == (None, (1, 3))


def test_a_stopped_trial_is_done_in_its_own_race_alone(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "results"), create=True)
    first, other = (search_of(tmp_path, STOP.replace("grace: 2", f"grace: {grace}")).propose({})[0] for grace in (2, 3))
    assert first.spec.id == other.spec.id
    assert first.stop is not None
    EarlyStoppingCohort(store, first.cohort, first.stop).record(first.spec.id, [1.0, 0.9])
    stopped = ended_as(first, "stopped")
    assert is_done(stopped, first, store)
    assert not is_done(stopped, other, store)
    assert not is_done(stopped, replace(first, stop=None), store)


def test_what_another_search_has_trained_is_not_handed_out(tmp_path: Path) -> None:
    first = search_of(tmp_path).propose({})
    other = tmp_path / "other"
    other.mkdir()
    search = search_of(other)
    assert search.store is not None
    write_row(search.store, ended_as(first[0]))
    found: list[TrialRow] = []
    queue = TrialQueue((), [search], {}, Leases(search.store), found=found.append)
    trial = queue.next()
    assert trial is not None
    assert trial.spec.id == first[1].spec.id
    assert [row.trial_id for row in found] == [first[0].spec.id]


def test_a_proposed_config_has_its_name_and_counts_in_the_display(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    assert search.store is not None
    display = Display(Console(file=io.StringIO(), width=200), search.store)
    display.stages_started([search.record], {}, 10)
    trials = [trial for _ in range(2) for trial in propose(search, display)]
    for trial in trials:
        display.trial_ended(ended_as(trial))
    assert display._counts().startswith("4/10 done, 0 running")
    assert display._best()


def test_a_plan_counts_configs_that_are_still_to_be_proposed(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    search.propose({})
    planned = expected(search.experiment, search.stage, search.datas, {}, search.store)
    assert len(planned) == 5 * 2
    assert [trial.spec.id for trial in planned[:2]] == [trial.spec.id for trial in search.trials[0]]


def propose(search: AdaptiveSearch, display: Display) -> tuple[Trial, ...]:
    trials = search.propose({})
    display.config_proposed(search.record)
    return trials
