"""Computes how many trials a cluster holds at once, and whether it can ever hold one.  Pure arithmetic, no ray."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from raysl.errors import ResourcesError
from raysl.search.experiment import Resources


class Node(NamedTuple):
    """The total resources of a node."""

    cpus: float
    gpus: float


def check(resources: Resources, nodes: Sequence[Node], place: str, more: Sequence[Node] | None = None) -> int:
    """Return how many trials the nodes hold at once.

    place: where the resources were written, for the message.
    more: the nodes that the cluster can start and that can hold a trial's workers; None if there is no file.
    Raises ResourcesError if neither can hold one.
    """
    trials = max(num_trials(resources, nodes), num_trials(resources, more or ()))
    if trials == 0:
        asked = f"{resources.workers} worker(s) of {resources.cpus} CPU(s)" + (
            f" and {resources.gpus:g} GPU(s)" if resources.gpus else ""
        )
        kinds = ", ".join(sorted({f"{node.cpus:g} CPU(s) and {node.gpus:g} GPU(s)" for node in nodes}))
        there = f"{len(nodes)} node(s) with {kinds}; " if nodes else ""
        grows = "give --cluster with the file of a cluster that grows" if more is None else "the cluster more"
        raise ResourcesError(
            f"{place}: resources: a trial takes {asked}, and this cluster can never give that: {there}lower "
            f"resources.workers, resources.cpus or resources.gpus, or {grows}"
        )
    return trials


def num_trials(resources: Resources, nodes: Sequence[Node]) -> int:
    """Return how many trials nodes hold at once; a trial's workers may be on several nodes."""
    return sum(workers_on(node, resources) for node in nodes) // resources.workers


def workers_on(node: Node, resources: Resources) -> int:
    """Return how many workers a node holds at once."""
    by_cpus = node.cpus / resources.cpus
    # A fraction of a GPU lies on one GPU; a whole number takes whole GPUs.
    if resources.gpus == 0:
        return math.floor(by_cpus)
    by_gpus = node.gpus // resources.gpus if resources.gpus >= 1 else node.gpus * math.floor(1 / resources.gpus + 1e-9)
    return math.floor(min(by_cpus, by_gpus))
