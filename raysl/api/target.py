"""The target of a planned search: the nodes that it would run on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raysl.launch.cluster.capacity import Node
from raysl.launch.cluster.cluster_file import ClusterFile, capacity, find_cluster_file
from raysl.launch.cluster.connected import is_connected
from raysl.search.experiment import Experiment


@dataclass(frozen=True)
class Target:
    """The existing nodes, and the file that describes how far their cluster can grow.

    rate: price of the existing nodes in USD per hour; None if unknown.
    """

    nodes: Sequence[Node]
    file: ClusterFile | None
    rate: float | None = None

    def capacity(self, experiment: Experiment) -> int:
        """Return how many trials run at once, at most; raises ResourcesError if none can ever run."""
        return capacity(experiment.resources, self.nodes, self.file, experiment.place("resources"))


def target(address: str | None, path: Path | None) -> Target:
    """Return the cluster at an address, else the one of a file or of this process, else this machine."""
    file = find_cluster_file(path, address)
    if address is not None or (file is None and is_connected()):
        from raysl.launch.cluster.ray_cluster import cluster
        from raysl.launch.cluster.ray_nodes import nodes, priced_nodes

        with cluster(address):
            prices = [node.price for node in priced_nodes(file) or () if not node.pending]
            rate = None if None in prices or not prices else sum(price for price in prices if price is not None)
            return Target(nodes(), file, rate)
    if file is not None:
        return Target([], file)
    import torch

    return Target([Node(cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count())], None)
