"""The estimate of the time left, on simulated searches whose end is known."""

import heapq

import pytest

from raysl.console.remaining_time import RemainingTime, duration_text

EPOCHS = 20


def simulated(groups: dict[str, tuple[int, float]], at_once: int, start_up: float = 0.0) -> list[tuple[float, float]]:
    """Return the time and the estimate of the time left at each event of a search, after the first tenth of its time.

    groups: number of trials and seconds of each, in the order in which they run.  start_up: seconds of a trial before
    its first epoch.
    """
    now = 0.0
    estimate = RemainingTime(lambda: now)
    waiting = [(f"{name}{i}", name, length) for name, (number, length) in groups.items() for i in range(number)]
    events: list[tuple[float, str, int]] = []
    found: list[tuple[float, float | None]] = []
    lengths = {name: length for name, _, length in waiting}
    waiting.reverse()
    while waiting or events:
        while waiting and len(events) < at_once:
            name, group, length = waiting.pop()
            estimate.started(name, group)
            heapq.heappush(events, (now + start_up + length / EPOCHS, name, 1))
        now, name, epoch = heapq.heappop(events)
        if epoch < EPOCHS:
            estimate.progressed(name, epoch / EPOCHS)
            heapq.heappush(events, (now + lengths[name] / EPOCHS, name, epoch + 1))
        else:
            estimate.ended(name)
        left: dict[str, int] = {}
        for _, group, _ in waiting:
            left[group] = left.get(group, 0) + 1
        found.append((now, estimate.seconds(left)))
    assert found[0][1] is not None
    return [(now - at, value) for at, value in found if value is not None and at >= now / 10]


@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize(
    ("groups", "start_up"),
    [
        ({"a": (24, 60.0)}, 0.0),
        ({"a": (12, 60.0), "b": (12, 80.0)}, 0.0),
        ({"a": (24, 60.0)}, 3.0),
        ({"a": (2, 600.0)}, 0.0),
    ],
)
def test_it_is_right_within_30_per_cent_after_the_first_tenth(
    at_once: int, groups: dict[str, tuple[int, float]], start_up: float
) -> None:
    for true, estimate in simulated(groups, at_once, start_up):
        assert estimate == pytest.approx(true, rel=0.3, abs=10.0)


def test_a_trial_that_begins_again_starts_at_nothing() -> None:
    now = 0.0
    estimate = RemainingTime(lambda: now)
    assert estimate.seconds({"a": 3}) is None
    estimate.started("x", "a")
    now = 10.0
    estimate.progressed("x", 0.5)
    assert estimate.seconds({"a": 1}) == pytest.approx(30.0)
    estimate.started("x", "a")
    assert estimate.seconds({}) is None
    estimate.progressed("unknown", 0.5)
    now = 15.0
    estimate.progressed("x", 0.25)
    assert estimate.seconds({}) == pytest.approx(15.0)


def test_a_trial_that_was_not_trained_to_its_end_tells_nothing_of_others() -> None:
    now = 0.0
    estimate = RemainingTime(lambda: now)
    estimate.started("x", "a")
    estimate.started("y", "a")
    now = 0.2
    estimate.ended("y", whole=False)
    now = 30.0
    estimate.progressed("x", 0.5)
    assert estimate.seconds({"a": 7}) == pytest.approx((30 + 7 * 60) / 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.7, "1 min 00 s"), (119.6, "2 min 00 s"), (725.0, "12 min 05 s"),
     (3599.9, "1 h 00 min"), (12_000.0, "3 h 20 min")],
)  # fmt: skip
def test_durations_are_rounded_once(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
