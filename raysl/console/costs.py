"""The cost of a search on the cluster of a cluster file."""

from collections.abc import Mapping

from rich.console import Console

from raysl.console.fitted_table import Column, print_table
from raysl.launch.cluster.capacity import workers_on
from raysl.launch.cluster.cluster_file import ClusterFile, NodeType
from raysl.search.experiment import Resources

COLUMNS = ("node type", "CPUs", "GPUs", "at most", "USD/hour", "trials on one", "USD for all trials")


def show_costs(file: ClusterFile, needs: Mapping[Resources, float], wall: float, console: Console) -> None:
    """Print which node types hold the trials, and what the search costs on each of them alone.

    needs: the sum of the trials' seconds, by the resources of a trial.
    wall: seconds of the whole search, during which the head node runs.
    """
    columns = [Column(name, left=name == COLUMNS[0], key=name == COLUMNS[0]) for name in COLUMNS]
    rows = []
    costs = {known.name: _cost(known, needs) for known in file.workers}
    for known in file.types:
        rows.append(
            [
                known.name,
                f"{known.node.cpus:g}",
                f"{known.node.gpus:g}",
                str(known.most),
                "?" if known.price is None else f"{known.price:.2f}",
                ", ".join(_share(known, resources) for resources in needs),
                _usd(costs.get(known.name)),
            ]
        )
    print_table(console, f"{file.path}: at most {file.max_workers} workers at once", columns, rows)
    gpu_hours = sum(seconds * resources.workers * resources.gpus for resources, seconds in needs.items()) / 3600
    known_costs = sorted(cost for cost in costs.values() if cost is not None)
    head = (file.head.price or 0.0) * wall / 3600
    if known_costs:
        low, high = known_costs[0] + head, known_costs[-1] + head
        console.print(
            f"about {_range(low, high)} USD, {_usd(head)} of it for the head; {gpu_hours:.2f} GPU-hours", soft_wrap=True
        )
    console.print(
        "nodes are counted while trials fill them; starting and idling nodes, disks and traffic come on top",
        soft_wrap=True,
    )


def _share(known: NodeType, resources: Resources) -> str:
    """Return how many trials a node holds, as text; less than 1 if a trial's workers need several nodes."""
    workers = workers_on(known.node, resources)
    if workers == 0:
        return "none"
    return f"{workers / resources.workers:.3g}"


def _cost(known: NodeType, needs: Mapping[Resources, float]) -> float | None:
    """Return what all trials cost on full nodes of one type, in USD; None if it has no price or does not hold them."""
    if known.price is None or any(workers_on(known.node, resources) == 0 for resources in needs):
        return None
    nodes = {resources: resources.workers / workers_on(known.node, resources) for resources in needs}
    return sum(seconds * nodes[resources] for resources, seconds in needs.items()) / 3600 * known.price


def _usd(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
