"""The cluster that a search goes to."""

from collections.abc import Sequence
from contextlib import ExitStack

from raysl.launch.node_types import capacity
from raysl.launch.options import Options
from raysl.launch.watcher import Observer
from raysl.search.experiment import Experiment


class Place:
    """A cluster, local or at an address, which is connected to, or started, when it is first needed."""

    def __init__(
        self, options: Options, experiments: Sequence[Experiment], observer: Observer, stack: ExitStack
    ) -> None:
        """Take where to search, what, and the stack that the connection is left with."""
        self.options, self.experiments, self.observer, self.stack = options, experiments, observer, stack
        self._connected = False

    def capacity(self, experiment: Experiment) -> int:
        """Return how many of an experiment's trials fit at once, on the cluster at its largest.

        Raises ResourcesError, when it connects, for any of the experiments of which it can never hold a trial, before
        the others are trained.
        """
        if not self._connected:
            self._connect()
        return self._fitting(experiment)

    def check_limits(self) -> None:
        """Raise LimitError where the search has to stop; called often while a cluster is there."""
        from raysl.launch.cluster import priced_nodes

        self.options.limits.check(lambda: priced_nodes(self.options.cluster_file))

    def _connect(self) -> None:
        from raysl.launch.cluster import cluster

        self.observer.cluster_starting()
        self.stack.enter_context(cluster(self.options.address))
        self._connected = True
        self.check_limits()
        for experiment in self.experiments:
            self._fitting(experiment)

    def _fitting(self, experiment: Experiment) -> int:
        from raysl.launch.cluster import nodes

        return capacity(experiment.resources, nodes(), self.options.cluster_file, experiment.place("resources"))
