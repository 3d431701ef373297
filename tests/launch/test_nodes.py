"""Searches over several nodes: a lost one loses nothing, and a cluster grows for trials that wait and shrinks again."""

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import ray
import torch
from clusters import Cluster, cluster, descendants
from tiny import EXPERIMENT, start, tables_of, write
from waiting import PATIENCE, wait_for

import raysl as package
from raysl.launch.cluster.shipping import runtime_environment

ONE_STAGE = EXPERIMENT[: EXPERIMENT.index("  finetune:")]
ONE_TRIAL = (
    ONE_STAGE.replace("[1e-2, 1e-3]", "[1e-3]").replace("seeds: 2", "seeds: 1").replace("epochs: 4", "epochs: 12")
)
pytestmark = pytest.mark.slow
GROUP = "TrainWorker"  # in the title of a process of a Train group


def begin(on: Cluster, file: Path, results: Path, *more: object) -> subprocess.Popen[str]:
    return start(file, results, "--address", on.address, *more, env=on.environment)


def finish(driver: subprocess.Popen[str], seconds: float = PATIENCE) -> str:
    printed, _ = driver.communicate(timeout=seconds)
    assert driver.returncode == 0, printed
    return printed


def test_a_trial_over_two_nodes_outlives_one_of_them(tmp_path: Path) -> None:
    """The trial's two ranks are on two nodes of one CPU each; the second dies, and a third takes its place."""
    file = write(tmp_path, ONE_TRIAL)
    workers = ("--set", "resources.workers=2")
    with cluster(1) as nodes:
        nodes.add("second", 1)
        finish(begin(nodes, file, tmp_path / "undisturbed", *workers))
        results = tmp_path / "results"
        driver = begin(nodes, file, results, *workers)
        wait_for("checkpoint", lambda: list((results / "checkpoints").glob("*.pt")), driver)
        assert any(GROUP in line for line in descendants(nodes.nodes["second"].pid).values())
        nodes.kill("second")
        nodes.add("third", 1)
        finish(driver)
    [log] = [path for path in (results / "logs").iterdir() if "rank" not in path.name]
    assert "goes on after epoch" in log.read_text()
    assert tables_of(results) == tables_of(tmp_path / "undisturbed")
    assert not list((results / "checkpoints").iterdir())


def test_a_node_that_joins_leaves_the_working_directories_of_others_as_they_are() -> None:
    """Ray makes a job's working directory anew on each node that joins; no two of a test's nodes may share it."""

    class Process:  # here, so that Ray sends its code: nodes cannot import tests
        def folder(self) -> str:
            return os.getcwd()

    with cluster(1) as nodes, runtime_environment() as environment:
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
    """The head has no CPU, so no trial can begin before the autoscaler has brought nodes up."""
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
        _wait_until_idle_nodes_are_gone(nodes.address)


def _wait_until_idle_nodes_are_gone(address: str) -> None:
    ray.init(address=address, log_to_driver=False)
    try:
        wait_for("end of idle nodes", lambda: sum(node["Alive"] for node in ray.nodes()) == 1)
    finally:
        ray.shutdown()
