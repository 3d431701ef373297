"""Workers of a lost head end themselves; those whose head answers do not."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cluster_files import CLUSTER, documents
from cluster_scripts import given_at_start
from clusters import free_port, kill_tree
from waiting import wait_for

SCRIPT = CLUSTER / "stop_without_head.sh"
LIMIT = 3  # seconds; the nodes' is 600

Start = Callable[[int], subprocess.Popen[bytes]]


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The file that the script's command makes in place of a shutdown."""
    return tmp_path / "ended"


@pytest.fixture
def start(tmp_path: Path, ended: Path) -> Iterator[Start]:
    """Start the script for a port, as a node does; it is ended after the test."""
    processes = []

    def started(port: int) -> subprocess.Popen[bytes]:
        command = [str(SCRIPT), "127.0.0.1", str(port), str(LIMIT), "touch", str(ended)]
        processes.append(subprocess.Popen(command, env={**os.environ, "HOME": str(tmp_path)}))
        return processes[-1]

    yield started
    for process in processes:
        with suppress(ProcessLookupError):
            kill_tree(process.pid)
        process.wait()


@pytest.mark.slow
def test_a_worker_ends_when_its_head_has_been_gone_for_some_time(start: Start, ended: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        start(head.getsockname()[1])
        time.sleep(2 * LIMIT)
        assert not ended.exists(), "the head answers"
    lost = time.monotonic()
    wait_for("end of the worker", ended.exists)
    assert time.monotonic() - lost > LIMIT - 2, "a head that is away for a moment is not lost"


@pytest.mark.slow
def test_a_worker_ends_when_its_head_was_never_there(start: Start, ended: Path) -> None:
    start(free_port())
    wait_for("end of the worker", ended.exists)


@pytest.mark.slow
def test_a_head_that_comes_back_in_time_is_not_lost(start: Start, ended: Path) -> None:
    port = free_port()
    for _ in range(3):
        if not ended.exists():
            with socket.create_server(("127.0.0.1", port)):
                start(port) if _ == 0 else None
                time.sleep(1.5 * LIMIT)
        time.sleep(LIMIT / 3)
    assert not ended.exists()


@pytest.mark.slow
def test_the_script_of_a_new_head_takes_the_place_of_the_old_ones(start: Start, ended: Path) -> None:
    first = start(free_port())
    with socket.create_server(("127.0.0.1", 0)) as head:
        time.sleep(0.5)
        start(head.getsockname()[1])
        wait_for("end of the first script", lambda: first.poll() is not None, seconds=60)
        time.sleep(2 * LIMIT)
    assert not ended.exists()


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_every_worker_starts_it_before_ray(name: str) -> None:
    (config,) = documents((CLUSTER / name).read_text())
    assert given_at_start(config, SCRIPT.name) == ["$RAY_HEAD_IP", "6379", "600", "sudo", "shutdown", "-h", "now"]
    assert "--port=6379" in " ".join(config["head_start_ray_commands"])
    assert SCRIPT.stat().st_mode & 0o111
    assert not any(SCRIPT.name in command for command in config["head_start_ray_commands"])


def test_no_machine_runs_for_ever() -> None:
    (aws,) = documents((CLUSTER / "aws.yaml").read_text())
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert aws[commands][0] == "sudo shutdown -h +10080"
    configs = [node_type["node_config"] for node_type in aws["available_node_types"].values()]
    assert {config["InstanceInitiatedShutdownBehavior"] for config in configs} == {"terminate"}
    (gcp,) = documents((CLUSTER / "gcp.yaml").read_text())
    for node_type in gcp["available_node_types"].values():
        scheduling = node_type["node_config"]["scheduling"]
        assert scheduling["maxRunDuration"] == {"seconds": str(7 * 24 * 3600)}
        assert scheduling["instanceTerminationAction"] == "DELETE"
