"""Whether a cluster can ever hold a trial, and how many at once.  Pure arithmetic, no ray."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from raysl.errors import ResourcesError
from raysl.search.experiment import Resources


class Node(NamedTuple):
    """What a node has in all."""

    cpus: float
    gpus: float


def check(resources: Resources, nodes: Sequence[Node], place: str) -> int:
    """Return how many trials the nodes hold at once.

    place: where the resources were written, for the message.
    Raises ResourcesError where they can never hold one.
    """
    slots = sum(_workers_on(node, resources) for node in nodes)
    trials = slots // resources.workers
    if trials == 0:
        asked = f"{resources.workers} worker(s) of {resources.cpus} CPU(s)" + (
            f" and {resources.gpus:g} GPU(s)" if resources.gpus else ""
        )
        there = ", ".join(sorted({f"{node.cpus:g} CPU(s) and {node.gpus:g} GPU(s)" for node in nodes})) or "no node"
        raise ResourcesError(
            f"{place}: resources: a trial takes {asked}, and this cluster can never give that: "
            f"{len(nodes)} node(s) with {there}; lower resources.workers, resources.cpus or resources.gpus"
        )
    return trials


def _workers_on(node: Node, resources: Resources) -> int:
    by_cpus = node.cpus / resources.cpus
    # A share of a GPU lies on one card; a whole number takes whole cards.
    if resources.gpus == 0:
        return math.floor(by_cpus)
    by_gpus = node.gpus // resources.gpus if resources.gpus >= 1 else node.gpus * math.floor(1 / resources.gpus + 1e-9)
    return math.floor(min(by_cpus, by_gpus))
