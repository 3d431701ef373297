"""`raysl ui`: what it starts, what it links to, and what it refuses."""

import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from clusters import descendants, free_port
from mlflow_server import mlflow_server
from tiny import Finished, command, here
from waiting import PATIENCE, wait_for

from raysl.results.storage.store import Store
from raysl.tracking.pages import STYLE
from raysl.tracking.sync_manifest import write_target
from raysl.tracking.uri import UNTRACKED


@pytest.fixture(scope="module")
def results(finished: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search that this file's tests may change."""
    folder = tmp_path_factory.mktemp("ui") / "it's here"
    shutil.copytree(finished(tracked=True).results, folder)
    return folder


class Serving:
    """A `raysl ui` that runs; links: the addresses that it has printed."""

    def __init__(self, *arguments: object, cwd: Path) -> None:
        self.process = subprocess.Popen(
            command("ui", *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break
        self.links = [line.rpartition(": ")[2] for line in self.lines if "http" in line]

    def end(self, number: int) -> int:
        """End it by a signal; return its exit code once all its processes have ended."""
        children = descendants(self.process.pid)
        assert children
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE)
        wait_for("end of the server", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
        return self.process.returncode


@pytest.mark.slow
def test_it_serves_the_folder_alone_until_ctrl_c(results: Path, tmp_path: Path) -> None:
    port = free_port()
    serving = Serving(results, "--port", port, "--no-browser", cwd=tmp_path)
    assert serving.links, serving.lines
    assert serving.lines[0].startswith("tiny: semi, 2 configs: ")
    assert all(link.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?") for link in serving.links)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE) as reply:
        assert reply.status == 200
    kept = {"If-Modified-Since": formatdate(time.time(), usegmt=True)}  # of a browser that has seen MLflow's own page
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/", headers=kept)) as reply:
        assert STYLE in reply.read().decode()
    taken = here("ui", results, "--port", port)
    assert (taken.returncode, taken.stdout) == (2, "")
    assert f"--port {port}: taken by another program" in taken.stderr
    assert len(taken.stderr.splitlines()) == 1
    assert serving.end(signal.SIGINT) == 0
    assert list(tmp_path.iterdir()) == [], "MLflow's own folders"


@pytest.mark.slow
def test_a_database_that_is_behind_is_synced_first(results: Path, tmp_path: Path) -> None:
    behind = tmp_path / "behind"
    shutil.copytree(results, behind)
    (behind / "mlflow.db").unlink()
    serving = Serving(behind, "--port", free_port(), cwd=tmp_path)
    assert len(serving.links) == 3
    assert serving.end(signal.SIGTERM) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_of_a_folder_on_a_server_the_links_are_printed_alone(finished: Callable[..., Finished], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished().results, copy)
    assert not (copy / "mlflow.db").exists(), "its search was not tracked"
    with mlflow_server(tmp_path / "server") as server:
        first = here("ui", copy, "--tracking", server.uri)
        again = here("ui", copy)
    assert (first.returncode, first.stderr) == (0, "")
    assert again.stdout == first.stdout, "the folder knows where it was synced to"
    assert all(line.rpartition(": ")[2].startswith(f"{server.uri}/#/") for line in first.stdout.splitlines())
    gone = here("ui", copy)
    assert gone.returncode == 2
    assert "Connection refused" in gone.stderr


def test_a_folder_that_is_none_and_one_without_a_search_are_refused(tmp_path: Path) -> None:
    for folder, said in (("none", "no such folder"), (".", "no search has been here")):
        done = here("ui", tmp_path / folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_password_is_asked_for_where_it_is_not_kept(finished: Callable[..., Finished], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished(tracked=True).results, copy)
    write_target(Store.open(str(copy), create=False), "https://alice:s3cretpw@host.invalid/x")
    done = here("ui", copy)
    assert done.returncode == 2
    assert "--tracking or MLFLOW_TRACKING_URI gives it" in done.stderr
    assert "s3cretpw" not in done.stdout + done.stderr


def test_a_taken_port_and_a_store_without_a_server_are_refused(finished: Callable[..., Finished]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = here("ui", finished(tracked=True).results, "--port", port)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --port {port}: taken")
    done = here("ui", finished(tracked=True).results, "--tracking", "databricks")
    assert done.returncode == 2
    assert "databricks, whose own pages show it" in done.stderr
    for given in ("mlruns", UNTRACKED):
        done = here("ui", finished(tracked=True).results, "--tracking", given)
        assert done.returncode == 2
        assert "not in a folder" in done.stderr
        assert ", none" not in done.stderr
