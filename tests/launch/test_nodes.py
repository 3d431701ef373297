"""Searches over several nodes: a lost one loses nothing, and a cluster grows for trials that wait and shrinks again."""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import ray
import torch
from clusters import Cluster, cluster, descendants
from tiny import EXPERIMENT, inline, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package
from raysl.launch.cluster.shipping import runtime_environment

ONE_STAGE = EXPERIMENT[: EXPERIMENT.index("  finetune:")]
ONE_TRIAL = (
    ONE_STAGE.replace("[1e-2, 1e-3]", "[1e-3]").replace("seeds: 2", "seeds: 1").replace("epochs: 4", "epochs: 300")
)
pytestmark = pytest.mark.slow
RESUMED = "INFO goes on after epoch"  # in a rank's log


def begin(on: Cluster, file: Path, results: Path, *more: object) -> subprocess.Popen[str]:
    return start(file, results, "--address", on.address, *more, env=on.environment)


def finish(driver: subprocess.Popen[str], seconds: float = PATIENCE) -> str:
    printed, _ = driver.communicate(timeout=seconds)
    assert driver.returncode == 0, printed
    return printed


def test_a_trial_over_two_nodes_goes_on_when_one_of_them_has_notice(tmp_path: Path) -> None:
    """Its two ranks are on two nodes of one CPU each. Rank 1 alone has notice, and rank 0 writes the checkpoint.

    Nodes that go without notice are among what test_chaos kills, of trials with two ranks too.
    """
    file, results = write(tmp_path, ONE_TRIAL), tmp_path / "results"
    with cluster(0) as nodes:
        nodes.add("first", 1)
        nodes.add("second", 1)
        rare = ("--set", "resources.checkpoint_seconds=3600")
        driver = begin(nodes, file, results, "--set", "resources.workers=2", *rare)
        wait_for("epoch", lambda: "epoch 5 of" in logs(results), driver)
        assert not list((results / "checkpoints").glob("*.pt"))
        leaving = next(name for name, node in nodes.nodes.items() if _writes(node.pid, ".rank1.log"))
        drain(nodes, leaving)
        wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")), driver)
        nodes.kill(leaving)
        nodes.add("third", 1)
        wait_for("both ranks' resume", lambda: logs(results).count(RESUMED) == 2, driver)
        driver.kill()  # how such a search ends is seen in test_chaos
        driver.communicate()


def _writes(pid: int, ending: str) -> bool:
    """Return whether a process below another one has a file open whose name ends so."""
    files = [file for process in descendants(pid) for file in Path(f"/proc/{process}/fd").glob("*")]
    return any(os.path.realpath(file).endswith(ending) for file in files)


def drain(nodes: Cluster, name: str) -> None:
    """Tell Ray that a node will go, as `cluster/drain_before_preemption.sh` does."""
    folder = f"{nodes.folder / name}/"
    with nodes.entered():
        ray.init(address=nodes.address, log_to_driver=False)
        living = [node for node in ray.nodes() if node["Alive"]]
        ray.shutdown()
    [node] = [node["NodeID"] for node in living if node["RayletSocketName"].startswith(folder)]
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", nodes.address, "--node-id", node]
    reason = [
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        name,
        "--deadline-remaining-seconds",
        "60",
    ]
    subprocess.run([*command, *reason], check=True, env=nodes.environment)


def end_pod(nodes: Cluster, name: str) -> None:
    """End a node as Kubernetes ends a pod, whose first process is `ray start --block`."""
    nodes.nodes[name].terminate()


def test_a_trial_writes_a_checkpoint_when_its_node_is_about_to_go(tmp_path: Path) -> None:
    """Each node of the trial has notice of its end, the first by a drain and the second as a pod has it, and goes."""
    file, results = write(tmp_path, ONE_TRIAL), tmp_path / "results"
    assert inline("tune", file, "--results", tmp_path / "undisturbed").returncode == 0
    with cluster(0) as nodes:
        nodes.add("first", 1)
        driver = begin(nodes, file, results, "--set", "resources.checkpoint_seconds=3600")
        wait_for("epoch", lambda: "epoch 5 of" in logs(results), driver)
        assert not list((results / "checkpoints").glob("*.pt"))
        for name, following, give_notice in (("first", "second", drain), ("second", "third", end_pod)):
            noticed = time.time()
            give_notice(nodes, name)
            wait_for("checkpoint", lambda since=noticed: newest_checkpoint(results) > since, driver)
            nodes.kill(name)
            resumed = logs(results).count(RESUMED)
            nodes.add(following, 1)
            wait_for("resume", lambda n=resumed: logs(results).count(RESUMED) > n, driver)
        finish(driver)
    assert tables_of(results) == tables_of(tmp_path / "undisturbed")


def logs(results: Path) -> str:
    return "".join(path.read_text() for path in (results / "logs").glob("*"))


def newest_checkpoint(results: Path) -> float:
    return max((path.stat().st_mtime for path in (results / "checkpoints").glob("*.pt")), default=0.0)


def test_a_node_that_joins_leaves_the_working_directories_of_others_as_they_are() -> None:
    """Ray makes a job's working directory anew on each node that joins; no two of a test's nodes may share it."""

    class Process:  # here, so that Ray sends its code: nodes cannot import tests
        def folder(self) -> str:
            return os.getcwd()

    with cluster(1) as nodes, nodes.entered(), runtime_environment() as environment:
        ray.init(address=nodes.address, runtime_env=environment, log_to_driver=False)
        try:
            process = ray.remote(num_cpus=1)(Process)
            first = process.remote()
            before = ray.get(first.folder.remote())
            nodes.add("second", 1)
            second = process.remote()
            assert ray.get(second.folder.remote()) != before
            assert ray.get(first.folder.remote()) == before
        finally:
            ray.shutdown()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_pytorch_cannot_use_ends_the_search_with_one_message(tmp_path: Path) -> None:
    """As where a node's driver is too old for CUDA: no trial trains on the CPU in the GPU's stead."""
    results = tmp_path / "results"
    with cluster(1, gpus=1) as nodes:
        driver = begin(nodes, write(tmp_path, ONE_TRIAL), results, "--set", "resources.gpus=1")
        printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, printed
    assert "resources.gpus: 1, but PyTorch finds no GPU on" in printed
    assert "Traceback" not in printed
    assert not list((results / "rows").glob("*.parquet"))


@pytest.mark.clock
def test_a_cluster_grows_for_the_trials_that_wait_and_shrinks_again(tmp_path: Path) -> None:
    """The head has no CPU, so no trial can begin before the autoscaler has brought nodes up.

    The second time, a trial takes both nodes.
    """
    types = {"worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
    description = tmp_path / "cluster.yaml"
    description.write_text(
        "head_node_type: head\nmax_workers: 2\navailable_node_types:\n"
        "  head: {resources: {CPU: 0}}\n  worker: {resources: {CPU: 1}, max_workers: 2}\n"
    )
    # Each trial takes longer than the second node takes after the first.
    file, results = write(tmp_path, ONE_STAGE.replace("epochs: 4", "epochs: 60")), tmp_path / "results"
    with cluster(0, {"available_node_types": types}) as nodes:
        refused = begin(nodes, file, results)
        printed, _ = refused.communicate(timeout=PATIENCE)
        assert refused.returncode == 2
        assert "give --cluster" in printed
        finish(begin(nodes, file, results, "--cluster", description))
        trials = package.read(str(results)).trials.to_pylist()
        assert [trial["status"] for trial in trials] == 4 * ["finished"]
        spans = sorted((trial["started_at"], trial["finished_at"]) for trial in trials)
        assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)), "two nodes, one used"
        with nodes.entered():
            _wait_until_idle_nodes_are_gone(nodes.address)
        wide = write(tmp_path, ONE_TRIAL.replace("epochs: 300", "epochs: 2"))
        finish(begin(nodes, wide, tmp_path / "wide", "--cluster", description, "--set", "resources.workers=2"))


def _wait_until_idle_nodes_are_gone(address: str) -> None:
    ray.init(address=address, log_to_driver=False)
    try:
        wait_for("end of idle nodes", lambda: sum(node["Alive"] for node in ray.nodes()) == 1)
    finally:
        ray.shutdown()
