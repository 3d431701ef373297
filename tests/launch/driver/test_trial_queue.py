"""Trials that two searches want, without training: rows are written as if trials had ended."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData
from raysl.launch.coordination import claim_queue
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.trial_queue import TrialQueue, done_rows, united
from raysl.results.records.rows import Status, TrialRow, read_row, write_row
from raysl.results.storage.store import Store
from raysl.search.trials import Trial, expand
from raysl.training.code import code_of
from raysl.training.model_file import ModelState, write_model
from raysl.training.paths import model_path

DATA = TrialData(source="digits", image_size=8, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_queue, "LOOKS", (0.0, 0.0))


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Leases, Leases]]:
    store = Store.open(str(tmp_path / "results"), create=True)
    with Leases(store) as own, Leases(store) as other:
        yield own, other


@pytest.fixture
def trials(tmp_path: Path) -> list[Trial]:
    experiment = load(write(tmp_path))
    return list(expand(experiment, experiment.stages[0], of_stages(experiment, DATA), {}))


def row_of(trial: Trial, status: Status) -> TrialRow:
    return TrialRow(
        trial_id=trial.spec.id, status=status, reason="", method="semi", seed=trial.spec.seed, final_loss=0.5,
        probe={}, epochs=4, num_parameters=1, seconds=1.0, started_at=0.0, finished_at=1.0, workers=1,
        device="cpu", raysl_version="", torch_version="", spec="{}", curve=(),
    )  # fmt: skip


def come(queue: TrialQueue) -> bool:
    """Look until there is a trial, or will be none."""
    while not queue.peek() and not queue.is_exhausted:
        time.sleep(0.01)
    return queue.peek()


def test_two_queues_hand_out_each_trial_once(both: tuple[Leases, Leases], trials: list[Trial]) -> None:
    told: list[list[TrialRow]] = [[], []]
    queues = [TrialQueue(trials, (), {}, one, found=found.append) for one, found in zip(both, told, strict=True)]
    handed: list[str] = []
    while any(not queue.is_exhausted for queue in queues):
        for queue, leases in zip(queues, both, strict=True):
            if (trial := queue.next()) is not None:
                handed.append(trial.spec.id)
                row = row_of(trial, "finished")
                write_row(leases.store, row)
                queue.ended(row)
    assert sorted(handed) == sorted(trial.spec.id for trial in trials)
    for queue, found in zip(queues, told, strict=True):
        seen = [*queue.handed_out, *(row.trial_id for row in found)]
        assert sorted(seen) == sorted(queue.rows) == sorted(handed)


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_search_waits_for_what_another_trains_and_takes_what_that_one_fails_in(
    both: tuple[Leases, Leases], trials: list[Trial], status: Status
) -> None:
    own, other = both
    theirs, found = TrialQueue(trials[:1], (), {}, other), list[TrialRow]()
    trial = theirs.next()
    assert trial is not None
    queue = TrialQueue(trials[:1], (), {}, own, found=found.append)
    for _ in range(3):
        assert not queue.peek()
        assert not queue.is_exhausted
    row = row_of(trial, status)
    write_row(other.store, row)
    theirs.ended(row)
    assert come(queue) is (status == "failed")
    assert [row.trial_id for row in found] == [trial.spec.id] * (status == "finished")
    assert queue.is_exhausted is (status == "finished")
    assert (queue.next() is None) is (status == "finished")
    assert theirs.is_exhausted  # what has failed there is not tried there again


def test_what_was_finished_between_a_look_and_the_claim_is_not_handed_out(
    both: tuple[Leases, Leases], trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, _ = both
    claim = own.claim

    def late(name: str) -> bool:
        write_row(own.store, row_of(trials[0], "finished"))
        return claim(name)

    monkeypatch.setattr(own, "claim", late)
    found: list[TrialRow] = []
    queue = TrialQueue(trials[:1], (), {}, own, found=found.append)
    assert queue.next() is None
    assert [row.trial_id for row in found] == [trials[0].spec.id]
    assert own.store.list("claims", "") == []


def test_what_is_done_can_be_more_than_the_row(both: tuple[Leases, Leases], trials: list[Trial]) -> None:
    own, _ = both
    write_row(own.store, row_of(trials[0], "finished"))
    queue = TrialQueue(trials[:1], (), {}, own, done=lambda trial: None)
    assert queue.next() is trials[0]


def test_waiting_ends_when_the_other_driver_does(both: tuple[Leases, Leases], trials: list[Trial]) -> None:
    own, _ = both
    with Leases(own.store) as other:
        assert other.claim(trials[0].spec.weights_id(None))
        queue = TrialQueue(trials[:1], (), {}, own)
        assert queue.next() is None
        threading.Timer(0.1, other.__exit__).start()
        assert come(queue)


@pytest.fixture
def alike(tmp_path: Path) -> list[Trial]:
    """Trials of one seed that differ in their probes alone."""
    found = []
    for strength in (1, 2, 3):
        overrides = ["stages.semi.optimizer.lr=1e-3", f"probes.linear_svm.C={strength}"]
        experiment = load(write(tmp_path), overrides=overrides)
        found.append(expand(experiment, experiment.stages[0], of_stages(experiment, DATA), {})[0])
    return found


def trained(trial: Trial, store: Store) -> TrialRow:
    code = code_of(trial.spec, store).digest
    row = replace(row_of(trial, "finished"), spec=trial.spec.model_dump_json(), code=code)
    write_model(store, trial.spec, None, ModelState({}, "encoder"))
    write_row(store, row)
    return row


def test_of_trials_with_the_same_weights_one_is_trained(both: tuple[Leases, Leases], alike: list[Trial]) -> None:
    """The others wait for it, in its own search and in another."""
    own, other = both
    queue, theirs = TrialQueue(alike[:2], (), {}, own), TrialQueue(alike[2:], (), {}, other)
    first = queue.next()
    assert first is alike[0]
    for one in (queue, theirs):
        assert one.next() is None
        assert not one.is_exhausted
    assert queue.donors == {}
    queue.ended(trained(first, own.store))
    second = queue.next()
    assert second is alike[1]
    assert [row.trial_id for row in queue.donors.values()] == [first.spec.id]
    assert not theirs.peek()
    queue.ended(trained(second, own.store))
    assert come(theirs)
    assert theirs.next() is alike[2]
    assert theirs.donors.keys() == {alike[2].spec.id}
    assert queue.is_exhausted


def test_a_row_is_taken_over_where_it_is_enough(both: tuple[Leases, Leases], alike: list[Trial]) -> None:
    own, _ = both
    row = replace(trained(alike[0], own.store), probe={"accuracy": 0.5})
    write_row(own.store, row)
    own.store.delete(model_path(row.trial_id))
    told: list[TrialRow] = []
    needing = replace(alike[2], needs_probe=True)
    queue = TrialQueue([alike[1], needing], (), {}, own, found=told.append)
    assert queue.next() is needing
    assert queue.donors.keys() == {alike[1].spec.id}
    [found] = told
    assert found == read_row(own.store, alike[1].spec.id)
    assert (found.final_loss, found.probe.get("accuracy"), found.weights_of) == (0.5, None, row.trial_id)
    assert own.taken() == {}
    assert [name.partition(".")[0] for name in own.store.list("claims", "")] == [needing.spec.weights_id(None)]


def test_a_trial_whose_own_model_is_wanted_takes_no_row(both: tuple[Leases, Leases], alike: list[Trial]) -> None:
    own, _ = both
    for trial in alike[:2]:
        trained(trial, own.store)
        own.store.delete(model_path(trial.spec.id))
    queue = TrialQueue(alike[:1], (), {}, own, done=lambda trial: None)
    assert queue.next() is alike[0]
    assert queue.donors == {}


def test_what_another_driver_has_trained_meanwhile_is_taken(
    both: tuple[Leases, Leases], trials: list[Trial], alike: list[Trial]
) -> None:
    own, other = both
    queue, theirs = TrialQueue([trials[0], alike[0]], (), {}, own), TrialQueue(alike[1:2], (), {}, other)
    first = queue.next()
    assert first is trials[0]
    taken = theirs.next()
    assert taken is not None
    theirs.ended(trained(taken, other.store))
    queue.ended(trained(first, own.store))
    assert queue.next() is alike[0]
    assert [row.trial_id for row in queue.donors.values()] == [taken.spec.id]


def test_a_row_without_the_probe_accuracy_that_is_needed_is_not_done(
    both: tuple[Leases, Leases], alike: list[Trial]
) -> None:
    own, _ = both
    row = trained(alike[0], own.store)
    bare = row.for_another(alike[1].spec.id, alike[1].spec.model_dump_json())
    write_row(own.store, bare)
    needing = replace(alike[1], needs_probe=True)
    assert done_rows(own.store, [alike[1]]) == {bare.trial_id: bare}
    assert done_rows(own.store, [needing]) == {}
    for pair in ((alike[1], needing), (needing, alike[1])):
        assert united(pair) == [needing]
