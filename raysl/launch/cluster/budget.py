"""The limits of a search in hours and in money.  No ray."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raysl.errors import ResourcesError, SearchError
from raysl.launch.cluster.cluster_file import BOOTSTRAP, PRICE, ClusterFile

LOOK_SECONDS = 2.0  # least time between two queries of the nodes
WIND_DOWN = 30.0  # seconds that a search needs to stop, at most
BOOT = 300.0  # seconds for which a cloud node is charged before it joins
TYPE = "ray.io/node-group"  # Ray's own node label: the name of the node's type


class LimitError(SearchError):
    """A search has reached a limit and has to stop."""


@dataclass(frozen=True)
class PricedNode:
    """A living node: its id, and its price in USD per hour, None if unknown."""

    id: str
    price: float | None


class Limits:
    """Decides when a search must stop to end within its limits.

    The cost of the first nodes is counted from the beginning of the command, that of a node that joins later from
    `BOOT` seconds before it is seen.  The time that workers idle after the search is added for all, if the cluster file
    states it.
    """

    def __init__(self, max_hours: float | None, max_cost: float | None, file: ClusterFile | None = None) -> None:
        """Begin to count time and cost.

        max_hours: of wall time, from now.  max_cost: USD for the cluster's nodes during the search.
        Raises ResourcesError if `max_hours` is no longer than a search needs to stop.
        """
        self.max_hours, self.max_cost, self.file = max_hours, max_cost, file
        self.spent = 0.0
        self._began = self._looked = time.monotonic()
        self._rates: dict[str, float] | None = None  # USD per hour, by node id
        if max_hours is not None and max_hours * 3600 <= WIND_DOWN:
            raise ResourcesError(
                f"--max-hours {max_hours:g}: is {max_hours * 3600:.0f} s; it takes more than the {WIND_DOWN:.0f} s "
                "that a search is given to stop"
            )

    @property
    def seconds_left(self) -> float:
        """Seconds of wall time until the search must have ended."""
        hours = math.inf if self.max_hours is None else self.max_hours
        return hours * 3600 - (time.monotonic() - self._began)

    def check(self, nodes: Callable[[], list[PricedNode]]) -> None:
        """Raise LimitError if the search has to stop now; to be called often.

        nodes: returns the living nodes; called at most every few seconds, and never without `max_cost`.
        Raises ResourcesError if a node that is there at the beginning has no price.
        """
        if self.seconds_left <= WIND_DOWN:
            raise LimitError(f"--max-hours {self.max_hours:g} is reached")
        now = time.monotonic()
        if self.max_cost is None or (self._rates is not None and now - self._looked < LOOK_SECONDS):
            return
        self._count(nodes(), now)
        assert self._rates is not None, "they have just been counted"
        rate = sum(self._rates.values())
        if self.spent + rate * (WIND_DOWN + self._idle_seconds()) / 3600 >= self.max_cost:
            raise LimitError(
                f"--max-cost {self.max_cost:g} is reached: {self.spent:.2f} USD so far, at {rate:.2f} USD an hour"
            )

    def _count(self, nodes: list[PricedNode], now: float) -> None:
        first = self._rates is None
        missing = sum(node.price is None for node in nodes)
        before: Mapping[str, float] = self._rates or {}
        prices = [node.price for node in nodes if node.price is not None]
        if first and missing:
            raise ResourcesError(
                f"--max-cost: {missing} of {len(nodes)} node(s) of this cluster have no price; it is read from their "
                f"label {PRICE}, or from that of their type in the file that --cluster names (or {BOOTSTRAP})"
            )
        # A node without a price that joins later is charged at the highest known price.
        self._rates = {node.id: max(prices, default=0.0) if node.price is None else node.price for node in nodes}
        self.spent += max(sum(before.values()), sum(self._rates.values())) * (now - self._looked) / 3600
        if not first:
            self.spent += sum(rate for node, rate in self._rates.items() if node not in before) * BOOT / 3600
        self._looked = now

    def _idle_seconds(self) -> float:
        return self.file.idle_seconds if self.file else 0.0
