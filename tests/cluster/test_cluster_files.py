"""The files in `cluster/` fit the programs that read them, and each other."""

import copy
from typing import Any

import pytest
from cluster_files import CHECKS, CLUSTER, documents, faults
from cluster_scripts import SCRIPTS

OTHERS = {"README.md", ".gitignore", *SCRIPTS}  # tested beside this file


@pytest.mark.parametrize("name", CHECKS)
def test_file_is_right(name: str) -> None:
    assert faults(CLUSTER / name, (CLUSTER / name).read_text()) == []


def test_no_file_goes_unchecked() -> None:
    there = {
        path.relative_to(CLUSTER).as_posix()
        for path in CLUSTER.rglob("*")
        if path.is_file() and path.name != ".env" and "__pycache__" not in path.parts
    }
    assert there == OTHERS | set(CHECKS)


@pytest.fixture(params=["aws.yaml", "gcp.yaml"])
def config(request: pytest.FixtureRequest) -> Any:
    return documents((CLUSTER / request.param).read_text())[0]


def test_head_is_on_demand_and_takes_no_task(config: Any) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert _market(head["node_config"]) == head["labels"]["market"] == "on-demand"


def test_on_demand_workers_stand_in_for_spot_ones(config: Any) -> None:
    # Ray prefers by priority only among nodes that fit a trial equally well.
    types = config["available_node_types"]
    spot, on_demand = types["gpu-spot"], types["gpu-on-demand"]
    assert spot["resources"] == on_demand["resources"]
    assert spot["priority"] > on_demand["priority"]
    assert _without_market(spot["node_config"]) == _without_market(on_demand["node_config"])
    for node_type, market in ((spot, "spot"), (on_demand, "on-demand")):
        assert _market(node_type["node_config"]) == node_type["labels"]["market"] == market
    assert float(spot["labels"]["usd-per-hour"]) < float(on_demand["labels"]["usd-per-hour"])


def test_nothing_runs_on_unasked(config: Any) -> None:
    workers = [t for name, t in config["available_node_types"].items() if name != config["head_node_type"]]
    assert all(worker["min_workers"] == 0 < worker["max_workers"] <= config["max_workers"] for worker in workers)
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert config["provider"]["cache_stopped_nodes"] is False


def test_workers_may_write_results(config: Any) -> None:
    # Ray gives the head an account of its own, and the workers none.
    workers = [t for name, t in config["available_node_types"].items() if name != config["head_node_type"]]
    assert all("IamInstanceProfile" in w["node_config"] or "serviceAccounts" in w["node_config"] for w in workers)


def test_nodes_have_the_token(config: Any) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_MODE=token" in config["setup_commands"][-1]


def test_ray_job_makes_the_cluster_of_raycluster_yaml() -> None:
    (cluster,) = documents((CLUSTER / "kuberay/raycluster.yaml").read_text())
    (job,) = documents((CLUSTER / "kuberay/rayjob.yaml").read_text())
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["shutdownAfterJobFinishes"]


def test_kubernetes_cluster_prefers_spot_and_keeps_tasks_off_the_head() -> None:
    (cluster,) = documents((CLUSTER / "kuberay/raycluster.yaml").read_text())
    spec = cluster["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["authOptions"] == {"mode": "token"}
    spot, on_demand = spec["workerGroupSpecs"]
    assert spot["priority"] > on_demand["priority"]
    for group, market, nodes in ((spot, "spot", "spot"), (on_demand, "on-demand", "standard")):
        assert group["labels"]["market"] == market
        assert group["template"]["spec"]["nodeSelector"]["cloud.google.com/gke-provisioning"] == nodes
    same = [copy.deepcopy(group["template"]["spec"]) for group in (spot, on_demand)]
    assert len({str(spec.pop("nodeSelector")) for spec in same}) == 2
    assert same[0] == same[1]


def _market(node_config: Any) -> str:
    ec2 = node_config.get("InstanceMarketOptions", {}).get("MarketType")
    gce = node_config.get("scheduling", {}).get("provisioningModel")
    return "spot" if ec2 == "spot" or gce == "SPOT" else "on-demand"


def _without_market(node_config: Any) -> Any:
    return {key: value for key, value in node_config.items() if key not in ("InstanceMarketOptions", "scheduling")}
