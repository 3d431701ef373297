"""Workers of a Train group meet over the interface by which Ray reaches their nodes."""

import os
import socket
from pathlib import Path

import pytest
import ray

from raysl.launch.cluster.ray_cluster import cluster
from raysl.launch.runtime.task_runner import Report
from raysl.launch.runtime.tasks import Task
from raysl.launch.runtime.torch_backend import INTERFACE, choose_interface, interface_of
from raysl.launch.runtime.worker_group import WorkerGroup
from raysl.search.experiment import Resources


def test_the_interface_of_an_address_is_found() -> None:
    names = {name for _, name in socket.if_nameindex()}
    assert interface_of("127.0.0.1") == "lo"
    own = ray.util.get_node_ip_address()
    assert interface_of(own) in names
    assert own == "127.0.0.1" or interface_of(own) != "lo"


@pytest.mark.parametrize("address", ["127.0.1.1", "192.0.2.1", "0.0.0.0"])
def test_an_address_of_no_interface_has_none(address: str) -> None:
    assert interface_of(address) is None


def test_an_interface_that_the_environment_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERFACE, "ib0")
    choose_interface()
    assert os.environ[INTERFACE] == "ib0"


@pytest.mark.slow
def test_workers_meet_over_the_interface_of_their_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(INTERFACE, raising=False)
    resources = Resources(workers=2, cpus=1)

    def do(task: Task, rank: int, report: object) -> None:
        import torch
        import torch.distributed as dist

        total = torch.ones(1)
        dist.all_reduce(total)
        if rank == 0:
            assert callable(report)
            report(
                {"interface": os.environ.get(INTERFACE), "node": ray.util.get_node_ip_address(), "sum": float(total)}
            )

    class Trial:  # a group is controlled from an actor's process
        def meet(self, storage: str) -> list[Report]:
            told: list[Report] = []
            group = WorkerGroup(do, resources, storage)
            group.run(Task("task", "", storage, resources), told.append)
            group.end()
            return told

    with cluster(None):
        [what] = ray.get(ray.remote(num_cpus=0)(Trial).remote().meet.remote(str(tmp_path)))
    assert what["sum"] == 2.0
    assert what["interface"] == interface_of(what["node"])
