"""The nodes of the Ray cluster that this process is in."""

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from raysl.launch.cluster.autoscaler import PendingNode, pending_nodes
from raysl.launch.cluster.budget import TYPE
from raysl.launch.cluster.capacity import Node
from raysl.launch.cluster.cluster_file import PRICE, ClusterFile
from raysl.launch.cluster.launches import PricedNode

HEAD = "node:__internal_head__"  # the resource that Ray gives the head alone


def nodes() -> list[Node]:
    """Return the total resources of each living node of the cluster."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(cpus=node.get("CPU", 0.0), gpus=node.get("GPU", 0.0)) for node in found]


def priced_nodes(file: ClusterFile | None) -> list[PricedNode] | None:
    """Return the living nodes and those that the autoscaler has launched, with prices; None if Ray does not answer.

    The price is that of a node's label, or else of its type in a cluster file.
    """
    living = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    pending = pending_nodes()
    return None if pending is None else priced(living, pending, file)


def priced(
    living: Sequence[Mapping[str, Any]], pending: Sequence[PendingNode], file: ClusterFile | None
) -> list[PricedNode]:
    """Return nodes with prices; living: as `ray.nodes` returns them."""
    head = next((node["NodeID"] for node in living if HEAD in node["Resources"]), "")
    joined = [
        PricedNode(
            node["NodeID"],
            _price(node["Labels"], file),
            node["Labels"].get(TYPE, ""),
            is_head=node["NodeID"] == head,
        )
        for node in living
    ]
    # Two clusters may have the same addresses.
    return joined + [
        PricedNode(f"{head}/{node.name}", _price({TYPE: node.type}, file), node.type, pending=node.state)
        for node in pending
    ]


def _price(labels: Mapping[str, str], file: ClusterFile | None) -> float | None:
    price = labels.get(PRICE) or (file.price_of(labels.get(TYPE, "")) if file else None)
    return None if price is None else float(price)


def living_nodes() -> frozenset[str]:
    """Return the ids of the cluster's living nodes."""
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
