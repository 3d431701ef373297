"""How often trials have died: lost nodes are not their doing, and one that got further has earned another attempt."""

MAX_FAILURES = 3  # how often a task may die without getting further before it counts as failed


class Failures:
    """Counts the failures of trials.  Nodes are ids of those that live, as they are now."""

    def __init__(self) -> None:
        self._begun: dict[str, frozenset[str]] = {}  # the nodes when a trial's last attempt began
        self._failed: dict[str, list[frozenset[str]]] = {}  # the same of its attempts that failed
        self._furthest: dict[str, int] = {}

    def started(self, trial_id: str, nodes: frozenset[str]) -> None:
        """A trial begins, or begins again."""
        self._begun[trial_id] = nodes

    def progressed(self, trial_id: str, epoch: int) -> None:
        """A trial has finished an epoch; those before its last checkpoint come again after a failure."""
        if epoch > self._furthest.get(trial_id, -1):
            self._furthest[trial_id] = epoch
            self._failed.pop(trial_id, None)

    def failed(self, trial_id: str, nodes: frozenset[str]) -> int:
        """Return how often a trial that has just failed did so since it last got further, all nodes being there still.

        A lost node is often noticed only after its trials are, so earlier failures are looked at anew.
        """
        failed = self._failed.setdefault(trial_id, [])
        failed.append(self._begun.get(trial_id, frozenset()))
        return sum(begun <= nodes for begun in failed)
