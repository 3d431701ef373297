"""Nodes that an autoscaler has launched, in the forms in which Ray's two versions tell of them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import ray
from clusters import cluster
from ray.autoscaler._private.autoscaler import AutoscalerSummary
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply, PendingInstance
from waiting import wait_for

from raysl.launch.cluster.autoscaler import PendingNode, of_version_1, of_version_2, pending_nodes
from raysl.launch.cluster.cluster_file import read_cluster_file
from raysl.launch.cluster.launches import PricedNode
from raysl.launch.cluster.ray_nodes import HEAD, priced, priced_nodes

FILE = read_cluster_file(Path(__file__).parents[3] / "cluster/aws.yaml")


def test_version_1() -> None:
    waiting = [("10.0.0.3", "gpu-spot", "setting-up"), ("10.0.0.4", "gpu-on-demand", "waiting-for-ssh")]
    summary = AutoscalerSummary({"head": 1}, None, waiting, {"gpu-spot": 2}, [("10.0.0.9", "gpu-spot")])
    assert of_version_1(json.dumps({"autoscaler_report": asdict(summary)}).encode()) == [
        PendingNode("10.0.0.3", "gpu-spot", "setting-up"),
        PendingNode("10.0.0.4", "gpu-on-demand", "waiting-for-ssh"),
    ]


def test_version_1_that_has_not_reported() -> None:
    for status in (None, b"", b"{}", b'{"autoscaler_report": null}'):
        assert of_version_1(status) == []


def test_version_2() -> None:
    pending = [
        PendingInstance(instance_id="a1", ray_node_type_name="gpu-spot", details="allocated"),
        PendingInstance(instance_id="a2", ray_node_type_name="gpu-spot"),
        PendingInstance(
            instance_id="a3", ray_node_type_name="head", details="allocated unmanaged instance :i-1 (HEAD)"
        ),
    ]
    reply = GetClusterStatusReply(autoscaling_state=AutoscalingState(pending_instances=pending))
    assert of_version_2(reply.SerializeToString()) == [
        PendingNode("a1", "gpu-spot", "allocated"),
        PendingNode("a2", "gpu-spot", "pending"),
    ]


def test_prices_and_names_of_nodes() -> None:
    living = [
        {"NodeID": "h", "Resources": {"CPU": 0.0, HEAD: 1.0}, "Labels": {"usd-per-hour": "0.25"}},
        {"NodeID": "w", "Resources": {"CPU": 4.0}, "Labels": {"ray.io/node-group": "gpu-on-demand"}},
        {"NodeID": "x", "Resources": {"CPU": 4.0}, "Labels": {}},
    ]
    assert priced(living, [PendingNode("10.0.0.3", "gpu-spot", "setting-up")], FILE) == [
        PricedNode("h", 0.25, is_head=True),
        PricedNode("w", 0.8048, "gpu-on-demand"),
        PricedNode("x", None),
        PricedNode("h/10.0.0.3", 0.45, "gpu-spot", pending="setting-up"),  # another cluster may have the address
    ]


@pytest.mark.slow
def test_a_node_is_pending_until_it_joins() -> None:
    """Ray's own autoscaler, of version 2, and a provider that starts raylets on this machine."""
    labels = {"usd-per-hour": "0.5"}
    worker = {"resources": {"CPU": 1}, "labels": labels, "node_config": {}, "min_workers": 0, "max_workers": 2}
    seen: list[PricedNode] = []

    def joined() -> bool:
        nodes = priced_nodes(None) or []
        seen.extend(nodes)
        return sum(node.price == 0.5 for node in nodes) == 2 and pending_nodes() == []

    with cluster(0, {"available_node_types": {"worker": worker}}) as nodes, nodes.entered():
        ray.init(address=nodes.address, log_to_driver=False)
        try:
            group = ray.util.placement_group([{"CPU": 1}, {"CPU": 1}], strategy="SPREAD")
            wait_for("two nodes", joined)
            ray.util.remove_placement_group(group)
        finally:
            ray.shutdown()
    pending = {node.type for node in seen if node.pending}
    assert pending == {"worker"}, "the head is none"
