"""A race of proposed configs over a results folder, without training: rows are written as if trials had ended."""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
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
from raysl.launch.coordination import claim_queue
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.stage_run import StageSearch
from raysl.launch.driver.trial_queue import TrialQueue
from raysl.results.records.proposals import Proposal, Told
from raysl.results.records.rows import Status, TrialRow, write_row
from raysl.results.records.stages import read_stages, write_stage
from raysl.results.storage.store import Store
from raysl.results.tables.build import build
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.config_means import standing_of, summarise
from raysl.search.raced_proposals import RacedProposals
from raysl.search.selection import select
from raysl.search.trials import Trial, experiment_digest, stage_id
from raysl.tracking.stage_runs import run_facts

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)
LR = "stages.semi.optimizer.lr={loguniform: [1e-4, 1e-1]}"
SEEDS = (4, 3, 0, 1, 2)
LOSSES = (1.0, 9.0, 1.02, 0.9, 30.0, 1.01)  # of the proposals, in their order; seeds are as unlike as 0 and 8
DROPPED = {1: 2, 4: 2}  # number of the proposal: seeds


def options(num_configs: int = len(LOSSES), race: str = "{error: 0.2}") -> list[str]:
    given = f"algorithm: optuna, num_configs: {num_configs}, sampler: {{name: TPESampler, n_startup_trials: 2}}"
    return [f"seeds={list(SEEDS)}", LR, f"stages.semi.search={{{given}, race: {race}}}"]


def search_of(folder: Path, *overrides: str, num_configs: int = len(LOSSES)) -> RacedProposals:
    experiment = load(write(folder), overrides=[*options(num_configs), *overrides])
    store = Store.open(str(folder / "results"), create=True)
    return RacedProposals(experiment, experiment.stages[0], of_stages(experiment, DATA), {}, store, 1.0)


def number_of(search: RacedProposals, trial: Trial) -> int:
    return next(number for number, trials in enumerate(search.trials) if trials[0].config_id == trial.config_id)


def loss_of(number: int, seed: int) -> float:
    return LOSSES[number] + 2 * seed + 0.0213 * ((5 * seed + seed * seed + 4 * number) % 11)


def mean_of(number: int, seeds: Sequence[int] = SEEDS) -> float:
    return sum(loss_of(number, seed) for seed in seeds) / len(seeds)


def row_of(search: RacedProposals, trial: Trial, status: Status = "finished") -> TrialRow:
    return ended_as(trial, status, loss_of(number_of(search, trial), trial.spec.seed))


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_queue, "LOOKS", (0.0, 0.0))


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[tuple[Leases, Leases]]:
    store = Store.open(str(tmp_path / "results"), create=True)
    with Leases(store) as own, Leases(store) as other:
        yield own, other


def run(queue: TrialQueue, search: RacedProposals, failing: Mapping[tuple[int, int], Status] | None = None) -> None:
    """End a queue's trials, one after another; failing: by number of the proposal and seed."""
    while not queue.is_exhausted:
        if (trial := queue.next()) is not None:
            status = (failing or {}).get((number_of(search, trial), trial.spec.seed), "finished")
            row = row_of(search, trial, status)
            write_row(queue._store, row)
            queue.ended(row)


def num_seeds(search: RacedProposals) -> list[int]:
    return [len(search._given(number)) for number in range(len(search.trials))]


def told_by(search: RacedProposals) -> dict[int, Told]:
    return {one.number: one for proposal in search.sampler.proposals for one in proposal.told}


def test_seeds_are_added_one_at_a_time_and_a_worse_config_gets_none(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    search, events = search_of(tmp_path), list[tuple[int, int, int, bool]]()

    def proposed(one: StageSearch) -> None:
        assert one is search
        events.append((len(search.known), len(search.news), search.num_saved, search.has_proposed))

    queue = TrialQueue(search.known, [search], {}, leases[0], proposed=proposed)
    assert search.num_trials_left == 30
    run(queue, search)
    assert num_seeds(search) == [5, 2, 5, 5, 2, 5]
    assert search.is_over
    assert search.num_trials_left == 0
    assert len(queue.handed_out) == 24
    assert events[:5] == [(2, 0, 0, True), (3, 0, 0, False), (4, 0, 0, False), (5, 0, 0, False), (7, 0, 0, True)]
    assert events[5] == (9, 1, 3, True)  # the second config is dropped, and the third proposed
    assert sum(saved for _, _, saved, _ in events) == 6
    assert [member.trial_id for member in search.record.members] == [trial.spec.id for trial in search.known]


def test_the_last_config_may_be_dropped_without_any_trial_after_it(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    search, dropped = search_of(tmp_path, num_configs=2), list[str]()
    queue = TrialQueue(
        (), [search], {}, leases[0], proposed=lambda _: dropped.extend(one.config_id for one in search.news)
    )
    run(queue, search)
    assert dropped == [search.trials[1][0].config_id]
    assert num_seeds(search) == [5, 2]


def test_the_sampler_is_told_what_a_dropped_config_would_have_had_with_all_seeds(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    search = search_of(tmp_path)
    run(TrialQueue((), [search], {}, leases[0]), search)
    told = told_by(search)
    assert sorted(told) == [0, 1, 2, 3, 4]  # nothing is asked after the last one
    for number in (0, 2, 3):
        assert told[number] == Told(number, "finished", (pytest.approx(mean_of(number)),))
    for number, whole in ((1, [0]), (4, [0, 2, 3])):
        harder = sum(mean_of(one) - mean_of(one, SEEDS[:2]) for one in whole) / len(whole)
        assert abs(harder) > 0.5  # the first two seeds are easier than all of them, or harder
        value = pytest.approx(mean_of(number, SEEDS[:2]) + harder)
        assert told[number] == Told(number, "finished", (value,))


def test_what_a_sampler_is_told_of_a_rule_whose_highest_value_is_best(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    search = search_of(tmp_path, "stages.semi.select=probe_accuracy")
    queue = TrialQueue((), [search], {}, leases[0])
    while not queue.is_exhausted:
        if (trial := queue.next()) is not None:
            accuracy = 1 - loss_of(number_of(search, trial), trial.spec.seed) / 100
            queue.ended(replace(row_of(search, trial), probe={"accuracy": accuracy}))
    assert num_seeds(search) == [5, 2, 5, 5, 2, 5]
    harder = mean_of(0) - mean_of(0, SEEDS[:2])
    assert told_by(search)[1].values == (pytest.approx(1 - (mean_of(1, SEEDS[:2]) + harder) / 100),)


def test_the_sampler_is_told_of_undecided_configs_once_and_only_beside_a_whole_one(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    first, second, third = (search.propose({}) for _ in range(3))
    rows = {trial.spec.id: row_of(search, trial) for trial in (*second, *third, first[0])}
    assert search.propose(rows)[0].config_id == search.trials[3][0].config_id  # no seed can be decided
    assert told_by(search) == {}
    whole = search.trials[0]
    rows |= {trial.spec.id: row_of(search, trial) for trial in (*whole, search.trials[3][0])}
    while not told_by(search):
        search.propose(rows)
    # The second one is dropped; the third waits for its next seed, the fourth for the second of its first ones.
    assert num_seeds(search)[:4] == [5, 2, 3, 2]
    harder = mean_of(0) - mean_of(0, SEEDS[:2])
    expected = {number: pytest.approx(mean_of(number, SEEDS[:2]) + harder) for number in (1, 2)}
    assert {number: one.values[0] for number, one in told_by(search).items()} == {
        0: pytest.approx(mean_of(0))
    } | expected
    rows |= {trial.spec.id: row_of(search, trial) for trial in search.trials[2]}
    while not search.is_over and search.propose(rows):
        pass
    assert sum(one.number == 2 for proposal in search.sampler.proposals for one in proposal.told) == 1
    assert told_by(search)[2].values == (expected[2],)


@pytest.mark.parametrize(("status", "told"), [("failed", "failed"), ("diverged", "diverged"), ("stopped", "stopped")])
def test_a_config_with_a_seed_that_did_not_finish_is_told_as_without_a_race(
    tmp_path: Path, leases: tuple[Leases, Leases], status: Status, told: str
) -> None:
    search = search_of(tmp_path)
    queue = TrialQueue((), [search], {}, leases[0])
    run(queue, search, {(2, SEEDS[2]): status})
    assert num_seeds(search) == [5, 2, 3, 5, 2, 5]
    assert (told_by(search)[2].status, told_by(search)[2].values) == (told, ())
    summaries = {one.config_id: one for one in summarise(search.record, queue.rows, {})}
    gone = summaries[search.trials[2][0].config_id]
    assert (gone.eligible, gone.dropped_in_round) == (False, None)


def test_a_dropped_config_is_told_as_the_mean_of_its_own_seeds_if_no_other_remains(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    trials = [*search.propose({}), *search.propose({})]
    rows = {trial.spec.id: row_of(search, trial) for trial in trials}
    [third] = search.propose(rows)
    rows[third.spec.id] = row_of(search, third, "diverged")
    search.propose(rows)
    assert told_by(search) == {
        0: Told(0, "diverged"), 1: Told(1, "finished", (pytest.approx(mean_of(1, SEEDS[:2])),)),
    }  # fmt: skip


def test_if_all_others_fail_the_dropped_ones_come_back(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    search = search_of(tmp_path, num_configs=2)
    queue = TrialQueue((), [search], {}, leases[0])
    run(queue, search, {(0, SEEDS[4]): "diverged"})
    assert num_seeds(search) == [5, 5]
    selection = select(search.record, queue.rows, 0.0)
    assert selection.config_id == search.trials[1][0].config_id
    assert len(selection.trial_ids) == 5


def test_killed_after_every_trial_it_goes_on_with_the_same_proposals_and_decisions(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    undisturbed = search_of(other)
    with Leases(Store.open(str(other / "results"), create=True)) as own:
        run(TrialQueue((), [undisturbed], {}, own), undisturbed)
    rows: dict[str, TrialRow] = {}
    for _ in range(40):
        search = search_of(tmp_path)
        search.replay(rows)
        queue = TrialQueue([t for t in search.known if t.spec.id not in rows], [search], rows, leases[0])
        if (trial := queue.next()) is None:
            break
        rows[trial.spec.id] = row_of(search, trial)
        leases[0].release(trial.spec.weights_id(None))
    assert search.is_over
    assert proposals(search) == proposals(undisturbed)
    assert search.record == undisturbed.record
    assert len(rows) == 24


def proposals(search: RacedProposals) -> Sequence[Proposal]:
    return search.sampler.proposals


def test_two_drivers_that_follow_the_same_proposals_train_each_trial_once(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    first = search_of(tmp_path)
    while first.propose({}):
        pass
    searches = [search_of(tmp_path) for _ in leases]
    queues = [TrialQueue(s.known, [s], {}, own) for s, own in zip(searches, leases, strict=True)]
    handed: list[str] = []
    ends = time.monotonic() + 60
    while any(not queue.is_exhausted for queue in queues):
        assert time.monotonic() < ends
        for search, queue in zip(searches, queues, strict=True):
            if (trial := queue.next()) is not None:
                handed.append(trial.spec.id)
                write_row(queue._store, row_of(search, trial))
                queue.ended(row_of(search, trial))
    assert len(handed) == len(set(handed)) == 24
    assert searches[0].standing == searches[1].standing
    assert searches[0].record == searches[1].record


def test_two_trials_at_once_take_the_decisions_of_their_rows(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    """Trials end in another order than they began, and configs are proposed ahead."""
    search = search_of(tmp_path)
    queue, running = TrialQueue((), [search], {}, leases[0]), list[Trial]()
    while not queue.is_exhausted:
        while len(running) < 4 and (trial := queue.next()) is not None:
            running.append(trial)
        if running:
            queue.ended(row_of(search, running.pop()))
    assert num_seeds(search) == [5, 2, 5, 5, 2, 5]
    assert standing_of(search.record, queue.rows) == search.standing
    assert {one.number for one in told_by(search).values()} <= set(range(5))


def test_the_trials_are_those_without_a_race_and_the_stage_has_its_own_id(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    experiment = load(write(tmp_path), overrides=[*options(), "stages.semi.search.race=null"])
    stage, datas = experiment.stages[0], of_stages(experiment, DATA)
    plain = AdaptiveSearch(experiment, stage, datas, {}, Store.open(str(tmp_path / "plain"), create=True), 1.0)
    assert [trial.spec.id for trial in plain.propose({})][:2] == [trial.spec.id for trial in search.propose({})]
    assert [trial.spec.id for trial in search.every] == [trial.spec.id for trial in plain.known]
    others = [search_of(tmp_path, f"stages.semi.search.race.{change}") for change in ("error=0.1", "first=3")]
    ids = [stage_id(experiment, stage, datas, {}), *(one.record.stage_id for one in (search, *others))]
    assert len(set(ids)) == 4
    assert len({experiment_digest(one) for one in (experiment, *(one.experiment for one in (search, *others)))}) == 4


def test_more_configs_go_on_with_all_that_was_decided_and_the_stage_stays_in_its_place(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    search = search_of(tmp_path, num_configs=4)
    queue = TrialQueue((), [search], {}, leases[0])
    run(queue, search)
    store = leases[0].store
    write_stage(store, search.record)
    more = search_of(tmp_path, num_configs=6)
    more.record = replace(more.record, created_at=2.0)
    assert more.record.stage_id == search.record.stage_id
    more.replay(queue.rows)
    assert more.standing.dropped == search.standing.dropped
    assert num_seeds(more) == num_seeds(search) == [5, 2, 5, 5]
    assert more.num_trials_left == 10
    write_stage(store, more.record)
    assert [(stage.created_at, stage.race) for stage in read_stages(store)] == [(1.0, more.record.race)]


def test_a_plan_counts_all_seeds_of_all_configs(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    search = search_of(tmp_path)
    run(TrialQueue((), [search], {}, leases[0]), search)
    planned = expected(search.experiment, search.stage, search.datas, {}, search.store)
    assert len(planned) == 6 * 5
    more = search_of(tmp_path, num_configs=8)
    assert len(expected(more.experiment, more.stage, more.datas, {}, more.store)) == 8 * 5


def test_the_display_counts_what_is_saved_and_says_what_is_dropped(
    tmp_path: Path, leases: tuple[Leases, Leases]
) -> None:
    search = search_of(tmp_path)
    printed = io.StringIO()
    display = Display(Console(file=printed, width=200), leases[0].store)
    display.stages_started([search.record], {}, search.num_trials_left)

    def proposed(_: StageSearch) -> None:
        if search.num_saved or not search.has_proposed:
            display.race_decided(search.record, search.news, search.num_saved)
        if search.has_proposed:
            display.config_proposed(search.record)

    queue, best = TrialQueue((), [search], {}, leases[0], proposed=proposed), list[str]()
    while not queue.is_exhausted:
        if (trial := queue.next()) is not None:
            row = row_of(search, trial)
            queue.ended(row)
            display.trial_ended(row)
            best.append(display._best())
    assert display._counts().startswith("24/24 done")
    assert best[:4] == [""] * 4  # until a config has all its seeds, means of other seeds are no comparison
    lines = printed.getvalue().splitlines()
    assert [line for line in lines if "semi: config" in line][-1].startswith("semi: config 6: optimizer.lr=")
    assert sum("semi: dropped (optimizer.lr=" in line for line in lines) == 2
    assert not any("go on to" in line for line in lines)
    assert best[-1].endswith(f"{mean_of(3):.6g}")


def test_the_selection_says_what_the_race_dropped(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    search = search_of(tmp_path, "stages.semi.ties=cheapest")
    queue = TrialQueue((), [search], {}, leases[0])
    run(queue, search)
    selection = select(search.record, queue.rows, 0.0)
    assert "a race dropped 2 of 6 configs" in selection.reason
    assert "saved 6 of 30 trials" in selection.reason
    summaries = {one.config_id: one for one in summarise(search.record, queue.rows, {})}
    for number, seeds in DROPPED.items():
        one = summaries[search.trials[number][0].config_id]
        assert (one.dropped_in_round, one.num_seeds, one.in_tie_set) == (1, seeds, False)


def test_a_config_that_awaits_seeds_is_compared_with_no_other(tmp_path: Path, leases: tuple[Leases, Leases]) -> None:
    search = search_of(tmp_path)
    queue = TrialQueue((), [search], {}, leases[0])
    for _ in range(5 + 2 + 3):  # of a config that is kept, of one that is dropped, and of one that goes on
        trial = queue.next()
        assert trial is not None
        queue.ended(row_of(search, trial))
    record = replace(search.record, members=tuple(one for one in search.record.members if one.trial_id in queue.rows))
    kept, dropped, waiting = summarise(record, queue.rows, {})
    assert (kept.num_seeds, kept.eligible, kept.in_tie_set) == (5, True, None)
    assert (dropped.num_seeds, dropped.dropped_in_round) == (2, 1)
    assert (waiting.num_seeds, waiting.num_finished, waiting.eligible, waiting.in_tie_set) == (3, 3, False, None)
    assert waiting.reason == "the race has given it 3 of 5 seeds so far"
    runs = run_facts(build([record], queue.rows, {}, [kept, dropped, waiting], {}))
    statuses = {one.tags["raysl.config_id"]: one.status for one in runs if one.kind == "config"}
    assert statuses == {kept.config_id: "FINISHED", dropped.config_id: "FINISHED", waiting.config_id: "RUNNING"}
