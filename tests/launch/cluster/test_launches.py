"""When nodes that are launched and never join end a search."""

import pytest

from raysl.errors import SearchError
from raysl.launch.cluster.launches import MOST_FAILED, Launches, PricedNode

HEAD = PricedNode("head", 0.2, is_head=True)
WORKER = PricedNode("worker", 0.5, "spot")


def pending(*names: str) -> list[PricedNode]:
    return [PricedNode(name, 0.5, "spot", pending="setting-up") for name in names]


def see(launches: Launches, *looks: list[PricedNode]) -> None:
    for nodes in looks:
        launches.see([HEAD, *nodes])


def test_nodes_that_were_launched_together_fail_as_one() -> None:
    launches = Launches()
    see(launches, pending("a", "b", "c", "d"), pending("b", "c", "d"), pending("c", "d"), pending("d"), [])
    assert launches.num_failed == 1


def test_each_replacement_that_fails_counts() -> None:
    launches = Launches()
    see(launches, pending("a0", "b0"), pending("b0", "a1"), pending("a1", "b1"))  # b0 is as old as a0
    assert launches.num_failed == 1
    see(launches, pending("b1", "a2"))
    assert launches.num_failed == 2
    with pytest.raises(
        SearchError, match=rf"^{MOST_FAILED} times in a row, .*the last one: spot, setting-up; the auto"
    ):
        see(launches, pending("b1"))


def test_a_worker_that_lives_begins_the_count_anew() -> None:
    launches = Launches()
    see(launches, pending("a"), pending("b"), pending("c"))
    assert launches.num_failed == 2
    see(launches, [*pending("d"), WORKER])
    assert launches.num_failed == 0
    see(launches, pending("d"), pending("e"))  # the worker has gone, and what was pending with it fails
    assert launches.num_failed == 1


def test_a_node_that_joins_has_not_failed() -> None:
    launches = Launches()
    see(launches, pending("a"), [WORKER], [])
    assert launches.num_failed == 0
