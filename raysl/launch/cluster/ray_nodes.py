"""The nodes of the Ray cluster that this process is in."""

import ray

from raysl.launch.cluster.budget import TYPE, PricedNode
from raysl.launch.cluster.capacity import Node
from raysl.launch.cluster.cluster_file import PRICE, ClusterFile


def nodes() -> list[Node]:
    """Return the total resources of each living node of the cluster."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(cpus=node.get("CPU", 0.0), gpus=node.get("GPU", 0.0)) for node in found]


def priced_nodes(file: ClusterFile | None) -> list[PricedNode]:
    """Return the living nodes with prices: from a node's label, or else of its type in a cluster file."""
    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            price = node["Labels"].get(PRICE) or (file.price_of(node["Labels"].get(TYPE, "")) if file else None)
            found.append(PricedNode(node["NodeID"], None if price is None else float(price)))
    return found


def living_nodes() -> frozenset[str]:
    """Return the ids of the cluster's living nodes."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
