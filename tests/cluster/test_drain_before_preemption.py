"""A spot machine that its cloud is about to take away is drained, and no other."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cluster_files import CLUSTER, documents
from cluster_scripts import given_at_start
from clusters import cluster, kill_tree
from ray._private.state import GlobalState
from ray._raylet import GcsClientOptions
from waiting import wait_for

SCRIPT = CLUSTER / "drain_before_preemption.sh"
TOKEN = "of-this-test"


class Metadata(BaseHTTPRequestHandler):
    """The clouds' metadata, of a machine that is taken away once `preempted` is set."""

    preempted = threading.Event()
    asked = threading.Semaphore(0)

    def do_PUT(self) -> None:
        self.answer(TOKEN if self.path == "/latest/api/token" and self.cloud == "aws" else None)

    def do_GET(self) -> None:
        if (self.cloud, self.path) == ("aws", "/latest/meta-data/spot/instance-action"):
            allowed = self.headers["X-aws-ec2-metadata-token"] == TOKEN
            self.answer('{"action": "terminate"}' if allowed and self.preempted.is_set() else None)
            self.asked.release()
        elif (self.cloud, self.path) == ("gcp", "/computeMetadata/v1/instance/preempted"):
            allowed = self.headers["Metadata-Flavor"] == "Google"
            self.answer(str(self.preempted.is_set()).upper() if allowed else None)
            self.asked.release()
        else:
            self.answer(None)

    cloud = ""

    def answer(self, text: str | None) -> None:
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def metadata_of(cloud: str) -> Iterator[tuple[str, type[Metadata]]]:
    handler = type("Of", (Metadata,), {"cloud": cloud, "preempted": threading.Event(), "asked": threading.Semaphore(0)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def ends_of_nodes(address: str) -> list[str]:
    """Return why the nodes of a cluster have gone; empty while all live."""
    state = GlobalState()
    state._initialize_global_state(GcsClientOptions.create(address, None, True, False))
    return [node["DeathReasonMessage"] for node in state.node_table() if not node["Alive"]]


@pytest.mark.slow
@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_machine_is_drained_when_its_cloud_gives_notice(cloud: str, tmp_path: Path) -> None:
    with cluster(1) as nodes, nodes.entered(), metadata_of(cloud) as (metadata, handler):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**nodes.environment, "HOME": str(tmp_path), "PATH": path}
        script = subprocess.Popen([str(SCRIPT), nodes.address, metadata], env=environment)
        try:
            for _ in range(2):
                assert handler.asked.acquire(timeout=60)
            assert ends_of_nodes(nodes.address) == []
            handler.preempted.set()
            wait_for("end of the script", lambda: script.poll() is not None)
            assert script.returncode == 0
            # A node that is drained and has nothing to do ends itself.
            wait_for("end of the node", lambda: ends_of_nodes(nodes.address))
            assert ends_of_nodes(nodes.address) == ["spot machine preempted"]
        finally:
            kill_tree(script.pid)
            script.wait()


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_every_worker_starts_it_before_ray(name: str) -> None:
    (config,) = documents((CLUSTER / name).read_text())
    assert given_at_start(config, SCRIPT.name) == ["$RAY_HEAD_IP:6379"]
    [command] = [command for command in config["worker_start_ray_commands"] if SCRIPT.name in command]
    assert command.endswith(" &")
    assert SCRIPT.stat().st_mode & 0o111
    assert not any(SCRIPT.name in command for command in config["head_start_ray_commands"])
