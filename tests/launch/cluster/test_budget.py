"""When a search must stop."""

from pathlib import Path

import pytest

from raysl.errors import ResourcesError
from raysl.launch.cluster import budget as module
from raysl.launch.cluster.budget import BOOT, LOOK_SECONDS, WIND_DOWN, LimitError, Limits, PricedNode
from raysl.launch.cluster.cluster_file import read_cluster_file

HEAD, WORKER = PricedNode("head", 0.2), PricedNode("worker", 1.0)


class Clock:
    """Stands in for the clock alone: hours pass here."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def cost_after(limits: Limits, clock: Clock, nodes: list[PricedNode], hours: float) -> float:
    steps = 1000
    for _ in range(steps):
        clock.now += hours * 3600 / steps
        limits.check(lambda: nodes)
    return limits.spent


def until_the_end(limits: Limits, clock: Clock) -> None:
    while True:
        clock.now += LOOK_SECONDS
        limits.check(lambda: [HEAD, WORKER])


def test_hours_end_in_time_to_stop(clock: Clock) -> None:
    limits = Limits(2.0, None)
    clock.now += 7200 - WIND_DOWN - 1
    limits.check(list)
    clock.now += 1
    with pytest.raises(LimitError, match=r"^--max-hours 2 is reached"):
        limits.check(list)


def test_hours_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ResourcesError, match=r"^--max-hours 0.005: is 18 s"):
        Limits(0.005, None)


def test_cost_is_that_of_the_nodes_while_they_are_there(clock: Clock) -> None:
    limits = Limits(None, 100.0)
    limits.check(lambda: [HEAD])
    assert cost_after(limits, clock, [HEAD], 3.0) == pytest.approx(0.6)
    before = limits.spent
    spent = cost_after(limits, clock, [HEAD, WORKER], 2.0) - before
    assert spent == pytest.approx(2 * 1.2 + BOOT / 3600, rel=1e-2)  # a worker is paid while it starts
    before = limits.spent
    assert cost_after(limits, clock, [HEAD], 1.0) - before == pytest.approx(0.2, rel=2e-2)  # and not once it is gone


def test_a_node_that_joined_between_two_looks_counts_from_the_first_of_them(clock: Clock) -> None:
    limits = Limits(None, 100.0)
    limits.check(lambda: [HEAD])
    clock.now += 3600
    limits.check(lambda: [HEAD, WORKER])
    assert limits.spent == pytest.approx(1.2 + BOOT / 3600)


def test_cost_is_never_exceeded(clock: Clock) -> None:
    limits = Limits(None, 1.0)
    with pytest.raises(LimitError, match=r"^--max-cost 1 is reached: 0.99 USD so far, at 1.20 USD an hour"):
        until_the_end(limits, clock)
    assert 0.98 < limits.spent < 1.0


def test_workers_that_idle_afterwards_are_kept_for(clock: Clock) -> None:
    file = read_cluster_file(Path(__file__).parents[3] / "cluster/aws.yaml")
    limits = Limits(None, 1.0, file)
    with pytest.raises(LimitError):
        until_the_end(limits, clock)
    assert limits.spent + 1.2 * file.idle_seconds / 3600 == pytest.approx(1.0, abs=0.02)


def test_nodes_without_a_price_are_refused_at_the_beginning_and_dear_later(clock: Clock) -> None:
    with pytest.raises(ResourcesError, match=r"1 of 2 node\(s\) of this cluster have no price"):
        Limits(None, 1.0).check(lambda: [HEAD, PricedNode("x", None)])
    limits = Limits(None, 100.0)
    limits.check(lambda: [HEAD, WORKER])
    with_unknown = cost_after(limits, clock, [HEAD, WORKER, PricedNode("x", None)], 1.0)
    assert with_unknown == pytest.approx(2.2 + BOOT / 3600, rel=1e-2)


def test_without_a_limit_nobody_looks() -> None:
    def nodes() -> list[PricedNode]:
        raise AssertionError

    Limits(5.0, None).check(nodes)
    Limits(None, None).check(nodes)
