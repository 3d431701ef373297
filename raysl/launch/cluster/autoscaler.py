"""The nodes that Ray's autoscaler has launched and that have not joined the cluster."""

import json
from dataclasses import dataclass

from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]
from ray.exceptions import RpcError
from ray.experimental.internal_kv import _internal_kv_get, internal_kv_get_gcs_client

ANSWER_SECONDS = 5.0  # for which an answer is waited for

HEAD = "(HEAD)"  # of the head's details: at the start, version 2 takes the head itself for a pending node


@dataclass(frozen=True)
class PendingNode:
    """A node that has been launched and has not joined the cluster.

    name: the autoscaler's id of it, or its address.  state: what it does, as the autoscaler says it.
    """

    name: str
    type: str
    state: str


def pending_nodes() -> list[PendingNode] | None:
    """Return the nodes that the autoscaler of the connected cluster waits for; empty if there is no autoscaler.

    It is None if Ray does not answer.
    """
    try:
        if is_autoscaler_v2():
            client = internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
            return of_version_2(client.get_cluster_status(timeout_s=ANSWER_SECONDS))
        return of_version_1(_internal_kv_get(DEBUG_AUTOSCALING_STATUS))
    except RpcError:
        return None


def of_version_1(status: bytes | None) -> list[PendingNode]:
    """Return the nodes that version 1 of the autoscaler, that of Ray's cluster launcher, waits for.

    status: JSON, as the autoscaler stores it after each of its updates; None or empty if it has not.
    """
    report = json.loads(status or b"{}").get("autoscaler_report") or {}
    return [PendingNode(address, kind, state) for address, kind, state in report.get("pending_nodes", ())]


def of_version_2(status: bytes) -> list[PendingNode]:
    """Return the nodes that version 2 of the autoscaler, that of KubeRay, waits for.

    status: a message of the type `GetClusterStatusReply`.
    """
    pending = GetClusterStatusReply.FromString(status).autoscaling_state.pending_instances
    return [
        PendingNode(node.instance_id, node.ray_node_type_name, node.details or "pending")
        for node in pending
        if HEAD not in node.details
    ]
