"""The place where a search's trials are trained: a Ray cluster, or this process."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from raysl.launch import signals
from raysl.launch.cluster.capacity import Node
from raysl.launch.cluster.cluster_file import capacity
from raysl.launch.cluster.connected import is_connected
from raysl.launch.cluster.launches import PricedNode
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.observer import Observer
from raysl.launch.driver.options import Options
from raysl.launch.runtime import inline
from raysl.launch.runtime.tasks import Work
from raysl.search.experiment import Experiment

# Seconds that idle processes are kept while the last trials of a stage run. Idle nodes block others or cost money, but
# starting processes again for the next stage takes half a minute.
STAY = 60.0


class Connection:
    """This process, or a cluster that is connected to or started when it is first needed."""

    def __init__(
        self,
        options: Options,
        experiments: Sequence[Experiment],
        leases: Leases,
        observer: Observer,
        stack: ExitStack,
    ) -> None:
        """Prepare a connection; stack: the connection is closed when the stack is."""
        self.options, self.experiments, self.leases, self.observer = options, experiments, leases, observer
        self.stack = stack
        self._connected = False
        self._is_own = False  # whether the cluster is this search's own, and ends with it

    @property
    def is_inline(self) -> bool:
        """Whether this process trains, without Ray."""
        return self.options.backend == "inline"

    def capacity(self, experiment: Experiment) -> int:
        """Return how many of an experiment's trials fit at once, on the cluster with all workers that it starts first.

        The first call connects.  It raises ResourcesError if any of the experiments has trials that can never fit,
        before the others are trained.
        """
        if not self._connected:
            self._connect()
        return self._fitting(experiment)

    def run(self, work: Work, following: Iterator[Work | None]) -> None:
        """Do work and the work that follows, until `following` yields None."""
        if self.is_inline:
            inline.run(work, following, self.check_limits)
            return
        from raysl.launch.runtime.tune_runner import run  # imported only if a cluster is needed: it takes seconds

        run(work, following, self.check_limits, stay=math.inf if self._is_own else STAY)

    def check_limits(self) -> None:
        """Raise LimitError, FencedError or Ended if the search has to stop; called often while trials are trained."""
        signals.check()
        self.leases.check()
        self.options.limits.check(self._priced_nodes)

    def _connect(self) -> None:
        self.options.limits.check()  # earlier commands may have spent all
        if not self.is_inline:
            self._connect_to_ray()
        self._connected = True
        self.check_limits()
        for experiment in self.experiments:
            self._fitting(experiment)

    def _connect_to_ray(self) -> None:
        from raysl.launch.cluster.ray_cluster import START_SECONDS, cluster

        was_connected = is_connected()
        self._is_own = self.options.address is None and not was_connected
        if not was_connected:
            bounded = self._is_own and self.options.own_process
            self.observer.cluster_starting(START_SECONDS if bounded else None)
        self.stack.enter_context(cluster(self.options.address, own_process=self.options.own_process))

    def _fitting(self, experiment: Experiment) -> int:
        place = experiment.place("resources")
        fitting = capacity(experiment.resources, self._nodes(experiment, place), self.options.cluster_file, place)
        return 1 if self.is_inline else fitting

    def _nodes(self, experiment: Experiment, place: str) -> list[Node]:
        if self.is_inline:
            return inline.this_machine(experiment.resources, place)
        from raysl.launch.cluster.ray_nodes import nodes

        return nodes()

    def _priced_nodes(self) -> list[PricedNode] | None:
        from raysl.launch.cluster.ray_nodes import priced_nodes

        return priced_nodes(self.options.cluster_file)
