"""The limits of a search in hours and in money.  No ray."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from raysl.errors import ResourcesError, ResultsError, SearchError
from raysl.launch.cluster.cluster_file import BOOTSTRAP, PRICE, ClusterFile
from raysl.launch.cluster.launches import Launches, PricedNode
from raysl.results.records.spending import Charge, Spending, SpendingRecords

LOOK_SECONDS = 2.0  # least time between two queries of the nodes
WIND_DOWN = 30.0  # seconds that a search needs to stop, at most
BOOT = 300.0  # seconds for which a cloud node is charged before it joins, if it was not seen pending
LAUNCH = 60.0  # seconds for which a cloud node is charged before it is seen pending
RECORD_SECONDS = 15.0  # between two records of what is spent
# Seconds for which a record counts nodes and time beyond its writing: a driver may die without another one, and the
# drivers' records may be as old as this.
AHEAD = 2 * RECORD_SECONDS
OTHERS = "other commands on this results folder"
TYPE = "ray.io/node-group"  # Ray's own node label: the name of the node's type


class LimitError(SearchError):
    """A search has reached a limit and has to stop."""


class Span(NamedTuple):
    """A time, from `start` to `end`, both in seconds."""

    start: float
    end: float


class Limits:
    """Decides when a search must stop to end within its limits.

    A search is all that is done on a results folder: what other drivers with limits have spent there counts, those of
    earlier commands too.  Time in which several search counts once, and so does a node that several use.

    The cost of the first nodes is counted from the beginning of the command, that of a node that joins later from when
    it was launched, or from `BOOT` seconds before it is seen.  The time that workers idle after the search is added for
    all, if the cluster file states it.
    """

    def __init__(self, max_hours: float | None, max_cost: float | None, file: ClusterFile | None = None) -> None:
        """Begin to count time and cost.

        max_hours: of wall time.  max_cost: USD for the cluster's nodes during the search.
        Raises ResourcesError if `max_hours` is no longer than a search needs to stop.
        """
        self.max_hours, self.max_cost, self.file = max_hours, max_cost, file
        self._began = time.monotonic()
        self._unix = 0.0  # what makes unix seconds of this process's clock
        self._nodes = _Nodes(self._began)
        self._launches = Launches()
        self._records: SpendingRecords | None = None
        self._recorded = -math.inf
        self._others: list[Spending] = []  # by this process's clock
        if max_hours is not None and max_hours * 3600 <= WIND_DOWN:
            raise ResourcesError(
                f"--max-hours {max_hours:g}: is {max_hours * 3600:.0f} s; it takes more than the {WIND_DOWN:.0f} s "
                "that a search is given to stop"
            )

    @property
    def seconds_left(self) -> float:
        """Seconds of wall time until the search must have ended."""
        now = time.monotonic()
        hours = math.inf if self.max_hours is None else self.max_hours
        return hours * 3600 - length([Span(self._began, now), *self._other_spans(now)])

    @property
    def spent(self) -> float:
        """USD that the search has cost so far."""
        return self._cost(self._nodes.charges, time.monotonic())

    def record_in(self, records: SpendingRecords) -> None:
        """Record from now on what is spent, and count what other drivers have recorded."""
        if self.max_hours is not None or self.max_cost is not None:
            self._records, self._unix = records, time.time() - time.monotonic()

    def check(self, nodes: Callable[[], list[PricedNode] | None] | None = None) -> None:
        """Raise LimitError if the search has to stop now; to be called often.

        nodes: returns the nodes, also pending ones, and is called at most every few seconds; None before there is a
            cluster.  It is called only with `max_cost` or a file of a cluster that grows.  Without an answer it returns
            None; the nodes that were there last are then charged until the next one.
        Raises ResourcesError if a node that is there at the beginning has no price, SearchError if nodes are launched
        again and again that never join.
        """
        now = time.monotonic()
        counts_nodes = self.max_cost is not None or self.file is not None
        looks = nodes is not None and counts_nodes and self._nodes.age(now) >= LOOK_SECONDS
        found = nodes() if looks and nodes is not None else None
        grown = found is not None and self._look(found, now)
        records = self._records is not None and (grown or now - self._recorded >= RECORD_SECONDS)
        if records:
            self.record()
        if self.seconds_left <= WIND_DOWN:
            raise LimitError(f"--max-hours {self.max_hours:g} is reached{self._shared_hours(now)}")
        if self.max_cost is not None and (found is not None or records):
            self._check_cost(self.max_cost, now)

    def record(self) -> None:
        """Write what this driver spends, and read what the others do; does nothing before `record_in`."""
        if self._records is None:
            return
        now = time.monotonic()
        ahead = AHEAD + WIND_DOWN + self._idle_seconds()
        own = Spending(self._began, now + AHEAD, self._nodes.charges_until(now + ahead))
        self._records.write(_moved(own, self._unix))
        self._others = [_moved(other, -self._unix) for other in self._records.others()]
        self._recorded = now

    def close(self) -> None:
        """Record the end of this driver's search: its time ends, and its nodes idle for some time."""
        if self._records is not None and self._recorded > -math.inf:
            now = time.monotonic()
            own = Spending(self._began, now, self._nodes.charges_until(now + self._idle_seconds()))
            with suppress(ResultsError):  # the last record counts somewhat more
                self._records.write(_moved(own, self._unix))

    def _look(self, nodes: list[PricedNode], now: float) -> bool:
        """Count the nodes; return whether any of them is new."""
        there = [node for node in nodes if not node.pending]
        missing = sum(node.price is None for node in there)
        if self.max_cost is not None and missing and self._nodes.looked is None:
            raise ResourcesError(
                f"--max-cost: {missing} of {len(there)} node(s) of this cluster have no price; it is read from their "
                f"label {PRICE}, or from that of their type in the file that --cluster names (or {BOOTSTRAP})"
            )
        grown = self._nodes.see(nodes, now)
        self._launches.see(nodes)
        return grown

    def _check_cost(self, max_cost: float, now: float) -> None:
        kept = self._nodes.charges_until(now + WIND_DOWN + self._idle_seconds())
        if self._cost(kept, math.inf) >= max_cost:
            spent, own = self.spent, cost(self._nodes.charges, now)
            others = f", {spent - own:.2f} of it by {OTHERS}" if spent > own else ""
            rate = self._nodes.rate
            raise LimitError(
                f"--max-cost {max_cost:g} is reached: {spent:.2f} USD so far{others}, at {rate:.2f} USD an hour"
            )

    def _shared_hours(self, now: float) -> str:
        """Return how many of the hours other commands have spent, as text; empty if none."""
        own = now - self._began
        others = length([Span(self._began, now), *self._other_spans(now)]) - own
        return f", {others / 3600:.2f} of them by {OTHERS}" if others > 0 else ""

    def _other_spans(self, now: float) -> list[Span]:
        return [Span(other.start, min(other.end, now)) for other in self._others]

    def _cost(self, own: Sequence[Charge], until: float) -> float:
        return cost([*own, *(charge for other in self._others for charge in other.charges)], until)

    def _idle_seconds(self) -> float:
        return self.file.idle_seconds if self.file else 0.0


class _Nodes:
    """The charges of the nodes that this driver has seen."""

    def __init__(self, began: float) -> None:
        self.looked: float | None = None  # when the nodes were last seen
        self._began = began
        self._open: dict[str, Charge] = {}  # of nodes that are there, by their ids
        self._closed: list[Charge] = []
        self._booting: set[str] = set()  # types of which pending nodes have been seen

    @property
    def charges(self) -> list[Charge]:
        """All charges, until the nodes were last seen."""
        return [*self._closed, *self._open.values()]

    @property
    def rate(self) -> float:
        """USD per hour of the nodes that are there."""
        return sum(charge.price for charge in self._open.values())

    def age(self, now: float) -> float:
        """Return the seconds since the nodes were seen."""
        return math.inf if self.looked is None else now - self.looked

    def charges_until(self, end: float) -> tuple[Charge, ...]:
        """Return all charges as they are if the nodes that were last seen stay until then."""
        return (*self._closed, *(replace(charge, end=end) for charge in self._open.values()))

    def see(self, nodes: list[PricedNode], now: float) -> bool:
        """Charge the nodes until now; return whether any of them is new."""
        before, self._open = self._open, {}
        dearest = max((node.price for node in nodes if node.price is not None), default=0.0)
        for node in nodes:
            start = before[node.id].start if node.id in before else self._start(node)
            # A node without a price that comes later is charged at the highest known price.
            self._open[node.id] = Charge(node.id, dearest if node.price is None else node.price, start, now)
        self._closed += [replace(charge, end=now) for name, charge in before.items() if name not in self._open]
        self._booting |= {node.type for node in nodes if node.pending}
        self.looked = now
        return not self._open.keys() <= before.keys()

    def _start(self, node: PricedNode) -> float:
        if self.looked is None:
            return self._began
        if node.pending:
            return self.looked - LAUNCH
        # The time in which it booted is charged already, if the autoscaler has told of it.
        return self.looked - (0.0 if node.type in self._booting else BOOT)


def cost(charges: Iterable[Charge], until: float) -> float:
    """Return the cost of nodes in USD, until a time; what several drivers charge of a node counts once."""
    spans: dict[str, list[Span]] = defaultdict(list)
    prices: dict[str, float] = defaultdict(float)
    for charge in charges:
        spans[charge.node].append(Span(charge.start, min(charge.end, until)))
        prices[charge.node] = max(prices[charge.node], charge.price)
    return sum(prices[node] * length(found) for node, found in spans.items()) / 3600


def length(spans: Sequence[Span]) -> float:
    """Return the seconds that are in at least one of the spans."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _moved(spending: Spending, by: float) -> Spending:
    """Return spending on a clock that is ahead by some seconds."""
    charges = tuple(replace(c, start=c.start + by, end=c.end + by) for c in spending.charges)
    return Spending(spending.start + by, spending.end + by, charges)
