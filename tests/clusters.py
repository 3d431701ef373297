"""Ray clusters of several raylets on one machine, each a process tree that can be killed outright."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from waiting import PATIENCE

from raysl.launch.cluster.tokens import MODE, TOKEN, read_again

# A lost raylet is noticed after seconds instead of half a minute.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 5,
}
HEAD_ID = 51 * "f" + "00000"  # what the fake provider calls the head


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def descendants(pid: int) -> dict[int, str]:
    """Return a process's living descendants with their command lines."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            parents[int(folder.name)] = (int(stat[1]), (folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    found: dict[int, str] = {}
    level = {pid}
    while level:
        level = {child for child, (parent, _) in parents.items() if parent in level} - set(found)
        found |= {child: parents[child][1] for child in level}
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants outright."""
    for process in [pid, *descendants(pid)]:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


@dataclass
class Cluster:
    """A head, and raylets that come and go."""

    address: str
    environment: Mapping[str, str]
    folder: Path
    head: subprocess.Popen[bytes]
    nodes: dict[str, subprocess.Popen[bytes]]

    def add(self, name: str, cpus: int, **environment: str) -> None:
        """Start a raylet and wait until it has joined."""
        self.begin(name, cpus, **environment)
        _wait_until_started(self.nodes[name], self._log(name))

    def begin(self, name: str, cpus: int, **environment: str) -> None:
        """Start a raylet without waiting until it has joined.

        It has a folder of its own, as each machine has: a raylet that joins makes the job's working directory anew, and
        in a shared folder it would remove the one in which the others' workers run.
        """
        arguments = [f"--address={self.address}", f"--num-cpus={cpus}", f"--temp-dir={self.folder / name}"]
        self.nodes[name] = _ray_start(arguments, self._log(name), {**self.environment, **environment})

    def joined(self) -> list[str]:
        """Return the names of the raylets that have joined, sorted."""
        return sorted(name for name in self.nodes if _is_started(self._log(name)))

    def kill(self, name: str) -> None:
        """Kill a raylet with all that runs under it, as a preempted machine goes."""
        process = self.nodes.pop(name)
        kill_tree(process.pid)
        process.wait()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have Ray in this process give the cluster's token."""
        try:
            with patch.dict(os.environ, {name: self.environment[name] for name in (MODE, TOKEN)}):
                read_again()
                yield
        finally:
            read_again()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def cluster(
    cpus: int,
    autoscaling: Mapping[str, object] | None = None,
    dashboard_port: int | None = None,
    gpus: int = 0,
    **environment: str,
) -> Iterator[Cluster]:
    """Run a cluster whose head has so many CPUs, with a token of its own unless the environment says otherwise.

    autoscaling: node types and limits for Ray's fake provider, which starts raylets on this machine; the head's type is
        `head`.
    dashboard_port: of its dashboard, with the job server; without one there is none.
    gpus: that the head says it has.
    """
    folder = Path(tempfile.mkdtemp(prefix="rc", dir="/tmp"))  # Ray's sockets lie below: their paths must be short
    port = free_port()
    address = f"127.0.0.1:{port}"
    environment = {**os.environ, MODE: "token", TOKEN: secrets.token_hex(32), **environment}
    arguments = [
        "--head", f"--port={port}", "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", f"--num-gpus={gpus}",
        f"--temp-dir={folder / 'ray'}",
        *(_ports(dashboard_port) if dashboard_port else ["--include-dashboard=false"]),
        f"--system-config={json.dumps(HEALTH)}",
    ]  # fmt: skip
    head_environment = dict(environment)
    if autoscaling is not None:
        file = folder / "autoscaling.json"
        file.write_text(json.dumps(_fake_config(address, cpus, autoscaling)))
        arguments.append(f"--autoscaling-config={file}")
        head_environment |= {
            "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        }  # fmt: skip
    else:
        arguments.append("--no-monitor")
    head = _ray_start(arguments, folder / "head.log", head_environment)
    _wait_until_started(head, folder / "head.log")
    found = Cluster(address, environment, folder, head, {})
    try:
        yield found
    finally:
        for process in [*found.nodes.values(), head]:
            kill_tree(process.pid)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _ports(dashboard_port: int) -> list[str]:
    # A job server without an agent takes no jobs, and an agent's own port is the same for all clusters.
    return [f"--dashboard-port={dashboard_port}", f"--dashboard-agent-listen-port={free_port()}"]


def _ray_start(arguments: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # Its log monitor takes a second of a core to start, and searches do not ask for what it sends.
    options = ["--block", "--disable-usage-stats", "--include-log-monitor=false"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)


def _is_started(log: Path) -> bool:
    return b"Ray runtime started" in log.read_bytes()


def _wait_until_started(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _is_started(log):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _fake_config(address: str, cpus: int, autoscaling: Mapping[str, object]) -> dict[str, object]:
    head = {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0}
    types = {**autoscaling["available_node_types"], "ray.head.default": head}  # type: ignore[dict-item]
    return {
        "cluster_name": "fake", "max_workers": 8, "upscaling_speed": 1.0, "idle_timeout_minutes": 0.1, "auth": {},
        "setup_commands": [], "head_setup_commands": [], "worker_setup_commands": [], "initialization_commands": [],
        "head_start_ray_commands": [], "worker_start_ray_commands": [], "file_mounts": {}, "cluster_synced_files": [],
        "rsync_exclude": [], "rsync_filter": [],
        **autoscaling,
        "provider": {
            # By its class: the type `fake_multinode` reads a file that Ray's wheel does not have.
            "type": "external", "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True, "disable_node_updaters": True,
            "disable_launch_config_check": True, "launch_multiple": True, "head_node_id": HEAD_ID,
            "gcs_address": address,
        },
        "available_node_types": types,
        "head_node_type": "ray.head.default",
    }  # fmt: skip
