"""The nodes that Ray's autoscaler has launched and that have not joined the cluster."""

import json
from dataclasses import dataclass

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

HEAD = "(HEAD)"  # of the head's details: at the start, version 2 takes the head itself for a pending node


@dataclass(frozen=True)
class PendingNode:
    """A node that has been launched and has not joined the cluster.

    name: the autoscaler's id of it, or its address.  state: what it does, as the autoscaler says it.
    """

    name: str
    type: str
    state: str


def pending_nodes() -> list[PendingNode]:
    """Return the nodes that the connected cluster's autoscaler waits for; empty if it has no autoscaler."""
    if is_autoscaler_v2():
        return of_version_2(get_cluster_status(ray.get_runtime_context().gcs_address))
    return of_version_1(_internal_kv_get(DEBUG_AUTOSCALING_STATUS))


def of_version_1(status: bytes | None) -> list[PendingNode]:
    """Return the nodes that version 1 of the autoscaler, that of Ray's cluster launcher, waits for.

    status: JSON, as the autoscaler stores it after each of its updates; None or empty if it has not.
    """
    report = json.loads(status or b"{}").get("autoscaler_report") or {}
    return [PendingNode(address, kind, state) for address, kind, state in report.get("pending_nodes", ())]


def of_version_2(status: ClusterStatus) -> list[PendingNode]:
    """Return the nodes that version 2 of the autoscaler, that of KubeRay, waits for."""
    return [
        PendingNode(node.instance_id, node.ray_node_type_name, node.details or "pending")
        for node in status.pending_nodes
        if HEAD not in (node.details or "")
    ]
