"""The rules that end hopeless trials, held against Ray's, and the files that they are decided from."""

import itertools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from raysl.results.storage.store import Store
from raysl.training.early_stopping import EarlyStoppingCohort, asha, median
from raysl.training.settings import Asha, MedianRule

Curves = Sequence[Sequence[float]]
EPOCHS = 28


@dataclass(frozen=True)
class Numbered:
    """What Ray's rules know of a trial."""

    trial_id: str


CONTROLLER = SimpleNamespace(get_live_trials=list)  # no trial waits for its turn


def curves(seed: int) -> list[list[float]]:
    """Return noisy falling losses of 12 trials; some are equal, and so at the cut-off itself."""
    draws = np.random.default_rng(seed)
    levels = draws.integers(1, 7, 12)
    noise = draws.integers(-1, 2, (12, EPOCHS)) / 4
    return (levels[:, None] + 4 / np.arange(1, EPOCHS + 1) + noise).round(3).tolist()


def order(seed: int, curves: Curves) -> list[int]:
    """Return whose turn it is, epoch by epoch: trials that are not equally fast."""
    draws = np.random.default_rng(seed)
    turns = [trial for trial in range(len(curves)) for _ in range(EPOCHS)]
    return [turns[place] for place in draws.permutation(len(turns))]


def ended(curves: Curves, turns: Sequence[int], stops: Callable[[int, int], bool]) -> dict[int, int]:
    """Return after how many epochs each of the stopped trials ends; `stops` is asked by trial and epochs done."""
    done, ends = [0] * len(curves), {}
    for trial in turns:
        if trial not in ends and done[trial] < EPOCHS:
            done[trial] += 1
            if stops(trial, done[trial]) and done[trial] < EPOCHS:
                ends[trial] = done[trial]
    return ends


def rays(scheduler: Any, curves: Curves) -> Callable[[int, int], bool]:
    trials = [Numbered(str(place)) for place in range(len(curves))]
    for trial in trials:
        scheduler.on_trial_add(CONTROLLER, trial)

    def stops(trial: int, done: int) -> bool:
        result = {"epochs": done, "loss": curves[trial][done - 1]}
        return bool(scheduler.on_trial_result(CONTROLLER, trials[trial], result) == TrialScheduler.STOP)

    return stops


def ours(cohort: EarlyStoppingCohort, curves: Curves) -> Callable[[int, int], bool]:
    def stops(trial: int, done: int) -> bool:
        cohort.record(str(trial), curves[trial][:done])
        return cohort.reason(str(trial), curves[trial][:done]) is not None

    return stops


@pytest.fixture
def make_cohort(store: Store) -> Callable[..., EarlyStoppingCohort]:
    numbers = itertools.count()
    return lambda settings: EarlyStoppingCohort(store, f"s{next(numbers)}-0", settings)


@pytest.mark.parametrize(("grace", "reduction"), [(1, 3), (2, 2), (3, 4)])
def test_asha_stops_whom_ray_stops(make_cohort: Callable[..., EarlyStoppingCohort], grace: int, reduction: int) -> None:
    total = 0
    for seed in range(2):
        losses = curves(seed)
        turns = order(seed, losses)
        scheduler = AsyncHyperBandScheduler("epochs", "loss", "min", EPOCHS, grace, reduction)
        settings = Asha(scheduler="asha", grace=grace, reduction=reduction)
        found = ended(losses, turns, ours(make_cohort(settings), losses))
        assert found == ended(losses, turns, rays(scheduler, losses))
        total += len(set(found.values()))
    assert total >= 3  # at several rungs


@pytest.mark.parametrize(("grace", "min_peers"), [(5, 3), (1, 1), (8, 6)])
def test_the_median_rule_stops_whom_ray_stops(
    make_cohort: Callable[..., EarlyStoppingCohort], grace: int, min_peers: int
) -> None:
    total = 0
    for seed in range(2):
        losses = curves(seed)
        turns = order(seed, losses)
        scheduler = MedianStoppingRule("epochs", "loss", "min", grace, min_peers)
        settings = MedianRule(scheduler="median", grace=grace, min_peers=min_peers)
        found = ended(losses, turns, ours(make_cohort(settings), losses))
        assert found == ended(losses, turns, rays(scheduler, losses))
        total += len(found)
    assert total > 3


def test_asha_by_hand() -> None:
    settings = Asha(scheduler="asha", grace=1, reduction=3)
    peers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert asha(settings, 3, 3.0, peers) is None  # the third lowest of 7: at the cut-off
    assert asha(settings, 3, 3.01, peers) == "asha: loss 3.01 after epoch 3, the lowest 1/3 of 7 had at most 3"
    assert asha(settings, 9, 3.01, peers) is not None
    assert all(asha(settings, done, 9.0, peers) is None for done in (2, 4, 6, 8, 10))  # no rungs
    assert asha(settings, 1, 9.0, []) is None  # the first to come
    assert asha(settings, 1, 9.0, [math.nan, 1.0]) is not None
    assert all(asha(Asha(scheduler="asha", grace=4), done, 9.0, peers) is None for done in (1, 3))


def test_the_median_rule_by_hand() -> None:
    settings = MedianRule(scheduler="median", grace=2, min_peers=3)
    peers = [[9.0, 1.0, 1.0], [9.0, 2.0, 4.0, 0.0], [9.0, 4.0, 4.0], [9.0, 9.0]]  # means 1, 3, 4; one is not so far
    reason = "median: lowest loss 3.1 after epoch 3, the median of the mean losses of 3 was 3"
    assert median(settings, [5.0, 3.1, 4.0], peers) == reason
    assert median(settings, [3.0, 9.0, 9.0], peers) is None  # it once was as low
    assert median(settings, [5.0, 3.1, 4.0], peers[1:]) is None  # too few
    assert median(settings, [5.0, 3.1, 4.0], [*peers[1:], [1.0, math.inf, 1.0]]) is None
    assert median(settings, [99.0], [[1.0]] * 3) is None  # within the grace


def test_a_trial_is_not_its_own_peer_nor_that_of_another_cohort(
    make_cohort: Callable[..., EarlyStoppingCohort],
) -> None:
    cohort, other = (make_cohort(MedianRule(scheduler="median", grace=1, min_peers=1)) for _ in range(2))
    cohort.record("a", [1.0])
    other.record("b", [0.0])
    assert cohort.reason("a", [5.0]) is None
    assert cohort.reason("b", [5.0]) is not None


def test_what_a_killed_trial_had_stays_for_the_others(make_cohort: Callable[..., EarlyStoppingCohort]) -> None:
    cohort = make_cohort(Asha(scheduler="asha"))
    cohort.record("a", [3.0, 2.0, 1.0])
    cohort.record("a", [3.0])  # begun again
    assert cohort.reason("b", [9.0, 9.0, 9.0]) is not None
    cohort.record("a", [4.0, 2.5, 1.5, 1.0])
    assert cohort.reason("b", [9.0, 9.0, 1.4]) is None


def test_a_damaged_file_is_no_peer(
    make_cohort: Callable[..., EarlyStoppingCohort], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = make_cohort(Asha(scheduler="asha"))
    cohort.record("a", [1.0])
    path = f"races/{cohort.name}/a.json"
    for content in (b"[1.0", b'{"a": 1}', b"[[1.0]]"):
        store.write(path, content)
        with caplog.at_level(logging.WARNING):
            assert cohort.reason("b", [9.0]) is None
    assert store.address(path) in caplog.text
    cohort.record("a", [1.0])
    assert cohort.reason("b", [9.0]) is not None


def test_a_withdrawn_trial_is_no_peer(make_cohort: Callable[..., EarlyStoppingCohort]) -> None:
    cohort = make_cohort(Asha(scheduler="asha"))
    cohort.record("a", [1.0])
    cohort.withdraw("a")
    assert cohort.reason("b", [9.0]) is None
