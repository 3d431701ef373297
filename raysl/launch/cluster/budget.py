"""What a search may take at most, in hours and in money.  No ray."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raysl.errors import ResourcesError, SearchError
from raysl.launch.cluster.cluster_file import BOOTSTRAP, PRICE, ClusterFile

LOOK_SECONDS = 2.0  # between two looks at the nodes
WIND_DOWN = 30.0  # seconds that a search takes to stop, at most
BOOT = 300.0  # seconds for which a cloud node is paid before it joins
TYPE = "ray.io/node-group"  # Ray's own label: the name of a node's type


class LimitError(SearchError):
    """A search has to stop, so that it takes no more than it may."""


@dataclass(frozen=True)
class PricedNode:
    """A living node: its id, and what an hour of it costs in USD, None where that is not known."""

    id: str
    price: float | None


class Limits:
    """Tells when a search must stop so as to end within its limits.

    Nodes that are there at first count from the beginning of the command, one that joins later from some minutes before
    it is seen, and all for the time that workers idle afterwards, as far as the cluster file tells it.
    """

    def __init__(self, max_hours: float | None, max_cost: float | None, file: ClusterFile | None = None) -> None:
        """Begin to count.

        max_hours: of wall time, from now.  max_cost: USD for the nodes of the cluster while the search goes on.
        Raises ResourcesError for hours in which nothing can be done.
        """
        self.max_hours, self.max_cost, self.file = max_hours, max_cost, file
        self.spent = 0.0
        self._began = self._looked = time.monotonic()
        self._rates: dict[str, float] | None = None  # USD an hour, by node
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
        """Raise LimitError where it is time to stop; to be called often.

        nodes: returns the living ones; called every few seconds at most, and not at all without `max_cost`.
        Raises ResourcesError where no node that is there at the beginning has a price.
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
        # One without a price, later on, is taken for the dearest.
        self._rates = {node.id: max(prices, default=0.0) if node.price is None else node.price for node in nodes}
        self.spent += max(sum(before.values()), sum(self._rates.values())) * (now - self._looked) / 3600
        if not first:
            self.spent += sum(rate for node, rate in self._rates.items() if node not in before) * BOOT / 3600
        self._looked = now

    def _idle_seconds(self) -> float:
        return self.file.idle_seconds if self.file else 0.0
