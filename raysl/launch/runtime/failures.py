"""Counts failures of trials; those with a lost node, and those before later progress, do not count."""

MAX_FAILURES = 3  # how often a task may die without getting further before it counts as failed


class Failures:
    """Counts the failures of trials.  Arguments `nodes` are the ids of the nodes that live at the call."""

    def __init__(self) -> None:
        self._begun: dict[str, frozenset[str]] = {}  # the living nodes when a trial's last attempt began
        self._failed: dict[str, list[frozenset[str]]] = {}  # the same of its failed attempts
        self._furthest: dict[str, int] = {}

    def started(self, trial_id: str, nodes: frozenset[str]) -> None:
        """A trial begins, or begins again."""
        self._begun[trial_id] = nodes

    def progressed(self, trial_id: str, epoch: int) -> None:
        """A trial has finished an epoch; after a failure, epochs since its last checkpoint are repeated."""
        if epoch > self._furthest.get(trial_id, -1):
            self._furthest[trial_id] = epoch
            self._failed.pop(trial_id, None)

    def failed(self, trial_id: str, nodes: frozenset[str]) -> int:
        """Record a failure; return how many failures without a lost node a trial has had since its last progress.

        Earlier failures are counted again at each call, because a lost node is often noticed later than its trials.
        """
        failed = self._failed.setdefault(trial_id, [])
        failed.append(self._begun.get(trial_id, frozenset()))
        return sum(begun <= nodes for begun in failed)
