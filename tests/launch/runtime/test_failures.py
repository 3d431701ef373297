"""When a trial that keeps dying is given up."""

from raysl.launch.runtime.failures import Failures

BOTH, ONE = frozenset({"a", "b"}), frozenset({"a"})


def test_each_death_counts_while_all_nodes_live() -> None:
    failures = Failures()
    counts = []
    for _ in range(3):
        failures.started("t", BOTH)
        counts.append(failures.failed("t", BOTH))
    assert counts == [1, 2, 3]


def test_a_death_with_its_node_does_not_count() -> None:
    failures = Failures()
    for _ in range(9):
        failures.started("t", BOTH)
        assert failures.failed("t", ONE) == 0
    failures.started("t", ONE)
    assert failures.failed("t", ONE) == 1


def test_a_node_that_is_found_lost_later_excuses_the_death_before() -> None:
    failures = Failures()
    failures.started("t", BOTH)
    assert failures.failed("t", BOTH) == 1  # the node is dead, and nobody knows yet
    failures.started("t", BOTH)
    assert failures.failed("t", ONE) == 0


def test_a_new_node_excuses_nothing() -> None:
    failures = Failures()
    failures.started("t", ONE)
    assert failures.failed("t", BOTH) == 1


def test_getting_further_wipes_the_slate_and_repeating_epochs_does_not() -> None:
    failures = Failures()
    failures.started("t", ONE)
    failures.progressed("t", 4)
    assert failures.failed("t", ONE) == 1
    failures.started("t", ONE)
    for epoch in (3, 4):  # from a checkpoint after epoch 2, again
        failures.progressed("t", epoch)
    assert failures.failed("t", ONE) == 2
    failures.started("t", ONE)
    failures.progressed("t", 5)
    assert failures.failed("t", ONE) == 1


def test_trials_are_counted_apart() -> None:
    failures = Failures()
    failures.started("t", ONE)
    failures.started("u", ONE)
    failures.failed("t", ONE)
    assert failures.failed("u", ONE) == 1
