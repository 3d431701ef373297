"""What a local cluster leaves in places that others share, and what it removes there."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import descendants
from hostile_server import hostile_server
from tiny import EXPERIMENT, ONE_PROCESS, start, write
from waiting import PATIENCE

from raysl.errors import SearchError
from raysl.launch.cluster.ray_cluster import PREFIX, _remove_stale_folders, _start
from raysl.launch.cluster.tokens import own_token

GONE = 2**22 + 1  # no process has such an id
STARTED = """
import json, os, stat
import ray
from raysl.launch.cluster.ray_cluster import cluster

def init(**options):
    folder = os.path.dirname(options["_temp_dir"])
    print(json.dumps([stat.S_IMODE(os.stat(folder).st_mode), os.environ["RAY_AUTH_TOKEN"], options["_temp_dir"]]))

ray.init, ray.shutdown = init, lambda: None
with cluster(None):
    pass
with cluster(None):
    pass
"""
REAL = """
import json, os, pathlib, stat, subprocess, sys
import ray
from raysl.launch.cluster.ray_cluster import cluster

with cluster(None):
    root = pathlib.Path(ray._private.worker._global_node.get_temp_dir_path()).parent
    shared = [*pathlib.Path("/tmp/ray").glob(f"*_{os.getpid()}"), *pathlib.Path("/dev/shm").glob("plasma*")]
    token = (pathlib.Path.home() / ".ray" / "auth_token").exists()
    mode = stat.S_IMODE(root.stat().st_mode)
    code = "import sys, ray; ray.init(address=sys.argv[1]); print('entered')"
    command = [sys.executable, "-c", code, ray.get_runtime_context().gcs_address]
    other = subprocess.run(command, env=os.environ | {"RAY_AUTH_TOKEN": "b" * 64}, capture_output=True, text=True)
    print(json.dumps([mode, list(map(str, shared)), token, "entered" in other.stdout, other.stderr[-900:], str(root)]))
print(json.dumps([os.environ.get("RAY_AUTH_MODE"), os.environ["RAY_AUTH_TOKEN"]]))
"""


def outcomes(code: str, **environment: str) -> list[list[object]]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_ray_works_in_a_folder_that_nobody_else_can_enter(tmp_path: Path) -> None:
    """Ray has everybody write to the folder that it is given."""
    first, second = outcomes(STARTED, TMPDIR=str(tmp_path), RAY_AUTH_TOKEN="")
    assert first[0] == second[0] == 0o700
    assert first[1] == second[1]  # Ray reads it once in a process
    assert len(str(first[1])) == 64
    assert first[2] != second[2]
    assert list(tmp_path.iterdir()) == []


def test_that_ray_does_not_start_is_said_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"Ray could not be started on this machine: .*AF_UNIX path"), own_token():
        _start(str(tmp_path / (100 * "x")), {})


def test_a_token_that_is_given_stays() -> None:
    assert outcomes(STARTED, RAY_AUTH_TOKEN="a" * 32)[0][1] == "a" * 32


@contextmanager
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def test_only_own_folders_of_processes_that_are_gone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious, shared = tmp_path / "precious", tmp_path / "shared"
    (precious / "file").mkdir(parents=True)
    with temporary(shared, monkeypatch):
        for name in (f"{GONE}-own", f"{os.getpid()}-living", f"{GONE}-foreign"):
            (shared / f"{PREFIX}{name}" / "in").mkdir(parents=True)
        (shared / f"{PREFIX}{GONE}-link").symlink_to(precious)
        (shared / f"{PREFIX}{GONE}-own" / "link").symlink_to(precious)
        (shared / f"{PREFIX}{GONE}-broken").symlink_to(tmp_path / "nowhere")
        (shared / f"{PREFIX}{GONE}-file").write_text("not raysl's")
        if os.getuid() == 0:
            os.chown(shared / f"{PREFIX}{GONE}-foreign", 12345, 12345)
        else:
            (shared / f"{PREFIX}{GONE}-foreign").rename(shared / "foreign")
        _remove_stale_folders()
    left = {path.name.removeprefix(PREFIX).partition("-")[2] or path.name for path in shared.iterdir()}
    assert left == {"living", "foreign", "link", "broken", "file"}
    assert (precious / "file").is_dir()


@pytest.mark.slow
def test_a_real_cluster_leaves_nothing_where_others_can_enter(tmp_path: Path) -> None:
    [mode, shared, token_file, entered, refused, root], afterwards = outcomes(
        REAL, HOME=str(tmp_path), RAY_AUTH_TOKEN=""
    )
    assert mode == 0o700
    assert shared == []
    assert token_file is False
    assert not entered
    assert "token" in str(refused)
    assert not Path(str(root)).exists()
    assert afterwards == [os.environ.get("RAY_AUTH_MODE"), ""], "Ray's mode would not suit the next cluster"


@pytest.mark.slow
def test_no_process_of_a_search_has_its_password_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cretpw")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "alice")
    seen: set[str] = set()
    with hostile_server("429") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://alice:s3cretpw@127.0.0.1:{server.server_port}")
        short = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]")
        driver = start(write(tmp_path, short), tmp_path / "results", *ONE_PROCESS)
        while driver.poll() is None:
            for pid in [driver.pid, *descendants(driver.pid)]:
                try:
                    seen.add(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
                except OSError:
                    continue
            time.sleep(0.2)
        printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, printed
    assert any("raylet" in line for line in seen)
    assert "s3cretpw" not in printed + "".join(seen)
    for path in (tmp_path / "results").rglob("*"):
        assert not path.is_file() or b"s3cretpw" not in path.read_bytes(), path
