"""Nodes that an autoscaler launches: whether they join the cluster.  No ray."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysl.errors import SearchError

MOST_FAILED = 3  # launches in a row of which no node joined


@dataclass(frozen=True)
class PricedNode:
    """A node that costs money.

    id: no other node of any cluster has it.
    price: in USD per hour, None if unknown.
    type: name of its type; empty if unknown.
    pending: what the autoscaler says of a node that has not joined; empty for one that has, which has another id.
    is_head: whether it is the cluster's head.
    """

    id: str
    price: float | None
    type: str = ""
    pending: str = ""
    is_head: bool = False


class Launches:
    """Counts the launches in a row of which no node has joined the cluster.

    Nodes that are launched again because others have failed count as the next launch, so nodes that fail together
    count once.  A worker that lives sets the count to 0: nodes of one type may not be had while those of another are.
    """

    def __init__(self) -> None:
        self.num_failed = 0
        # By the id of a pending node: the number of failed launches when it was first seen, and what it was last doing.
        self._pending: dict[str, tuple[int, str]] = {}

    def see(self, nodes: Sequence[PricedNode]) -> None:
        """Count the launches that have failed since the last call; nodes: all of the cluster, pending ones too.

        Raises SearchError if too many have failed in a row.
        """
        pending = {node.id: f"{node.type}, {node.pending}" for node in nodes if node.pending}
        failed = [seen for name, seen in self._pending.items() if name not in pending]
        if any(not node.pending and not node.is_head for node in nodes):
            self.num_failed = 0
        elif any(before == self.num_failed for before, _ in failed):
            self.num_failed += 1
            self._check(failed[-1][1])
        self._pending = {
            name: (min(self.num_failed, self._pending.get(name, (self.num_failed, ""))[0]), doing)
            for name, doing in pending.items()
        }

    def _check(self, last: str) -> None:
        if self.num_failed >= MOST_FAILED:
            raise SearchError(
                f"{self.num_failed} times in a row, nodes were launched and went away without joining the cluster; the "
                f"last one: {last}; the autoscaler's log says why (monitor.log in the head's "
                "/tmp/ray/session_latest/logs)"
            )
