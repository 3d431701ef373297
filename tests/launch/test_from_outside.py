"""`raysl tune --address http://...` on a real job server that asks for a token."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from clusters import cluster, free_port
from PIL import Image
from tiny import EXPERIMENT, ONE_PROCESS, write
from waiting import PATIENCE, wait_for

import raysl as package

PRETRAIN = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]")
MAIN = [sys.executable, "-P", "-m", "raysl"]
TOKEN = "0123456789abcdef" * 4
RAY = str(Path(sys.executable).with_name("ray"))

pytestmark = pytest.mark.slow


class Server(NamedTuple):
    """A cluster's job server, its address for nodes, its nodes' folders, and the environment of a user's machine."""

    address: str
    inside: str
    folder: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "other" / "raysl").mkdir(parents=True)
    (folder / "other" / "raysl" / "__init__.py").write_text("__version__ = '0.0.1'\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text("#!/bin/sh\necho 'another python, without Ray'\nexit 9\n")
    (folder / "bin" / "python").chmod(0o755)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    nodes = {
        "RAYSL_CACHE": str(folder / "nodes"),
        "PYTHONPATH": str(folder / "other"),
        "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
    }
    port = free_port()
    with cluster(2, dashboard_port=port, **token, **nodes) as started:
        mine = {**os.environ, **token, "RAYSL_CACHE": str(folder / "mine"), "RAY_ADDRESS": "127.0.0.1:1"}
        yield Server(f"http://127.0.0.1:{port}", started.address, folder, mine)


def start(server: Server, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MAIN, "tune", *map(str, arguments), *ONE_PROCESS, "--address", server.address],
        cwd=server.folder,
        env={**server.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def images(folder: Path) -> str:
    """Write a folder of images of the user's own, and return its source."""
    for split, count in {"train": 64, "test": 8}.items():
        for kind in ("dark", "light"):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                value = number + 100 * (kind == "light")
                Image.new("L", (8, 8), value).save(folder / split / kind / f"{number}.png")
    return f"folder:{folder}"


def test_a_search_with_own_images_from_another_machine(server: Server, tmp_path: Path) -> None:
    results = tmp_path / "results"
    text = PRETRAIN.replace("source: digits", f"source: '{images(tmp_path / 'photos')}'")
    search = start(server, write(tmp_path, text), "--results", f"file://{results}")
    printed, _ = search.communicate(timeout=PATIENCE)
    assert search.returncode == 0, printed
    trials = package.read(str(results)).trials.to_pylist()
    assert [trial["status"] for trial in trials] == ["finished"] * 2
    assert {trial["raysl_version"] for trial in trials} == {package.__version__}
    assert "selected" in printed
    assert printed.count("Running entrypoint") == 1
    [sent] = (results / "data").iterdir()
    assert (server.folder / "nodes" / "carried" / sent.name).exists()
    assert not list((server.folder / "nodes").glob("folders/*")), "the head has gone through the user's own folder"
    assert TOKEN not in printed
    for path in results.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_search_that_fails_there_ends_with_its_exit_code(server: Server, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    search = start(server, write(tmp_path, PRETRAIN), "--results", f"file://{results}", "--set", "resources.cpus=4096")
    printed, _ = search.communicate(timeout=PATIENCE)
    assert search.returncode == 2, printed
    assert "4096 CPU(s)" in printed


def test_ctrl_c_leaves_the_search_going_and_says_how_to_follow_and_stop_it(server: Server, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    text = PRETRAIN.replace("epochs: 4", "epochs: 4000")
    search = start(server, write(tmp_path, text), "--results", f"file://{results}")
    wait_for("checkpoint", lambda: list(results.glob("checkpoints/*.pt")), search)
    search.send_signal(signal.SIGINT)
    printed, _ = search.communicate(timeout=PATIENCE)
    assert search.returncode == 130, printed
    lines = printed.splitlines()
    assert "Traceback" not in printed
    follow = next(line.partition(": ")[2] for line in reversed(lines) if line.startswith("to follow it"))
    stop = next(line.partition(": ")[2] for line in reversed(lines) if line.startswith("to stop it"))
    environment = {name: value for name, value in server.environment.items() if name != "RAY_ADDRESS"}
    command = [RAY, *follow.replace("--follow ", "").split()[1:]]
    log = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert "Running entrypoint" in log.stdout, log.stdout + log.stderr
    stopped = subprocess.run(
        [RAY, *stop.split()[1:]], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    status = subprocess.run(
        [RAY, "job", "status", *stop.split()[3:]], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert "stopped" in status.stdout + status.stderr


@pytest.mark.parametrize("token", ["", "f" * 64])
def test_a_wrong_token_is_refused_and_not_shown(server: Server, tmp_path: Path, token: str) -> None:
    results, environment = f"file://{tmp_path}/results", {"RAY_AUTH_TOKEN": token, "HOME": str(tmp_path)}
    search = start(server, write(tmp_path, PRETRAIN), "--results", results, **environment)
    printed, _ = search.communicate(timeout=PATIENCE)
    assert search.returncode == 2, printed
    assert "RAY_AUTH_MODE=token" in printed
    assert "Traceback" not in printed
    assert not token or token not in printed


def test_a_node_without_the_token_is_refused_without_a_traceback(server: Server, tmp_path: Path) -> None:
    inside = server._replace(address=server.inside)
    search = start(inside, write(tmp_path, PRETRAIN), RAY_AUTH_TOKEN="", HOME=str(tmp_path))
    printed, _ = search.communicate(timeout=PATIENCE)
    assert search.returncode == 2, printed
    assert "RAY_AUTH_MODE=token" in printed
    assert "Traceback" not in printed


def test_a_job_of_the_users_own_making(server: Server, tmp_path: Path) -> None:
    folder, results = tmp_path / "work", tmp_path / "results"
    folder.mkdir()
    write(folder, PRETRAIN)
    (folder / "raysl").symlink_to(Path(package.__file__).parent)
    environment = {name: value for name, value in server.environment.items() if name != "RAY_ADDRESS"}
    job = ["job", "submit", "--address", server.address, "--working-dir", str(folder), "--"]
    search = [sys.executable, "-m", "raysl", "tune", "tiny.yaml", "--address", "auto", *ONE_PROCESS]
    given = [*search, "--results", f"file://{results}"]
    done = subprocess.run([RAY, *job, *given], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {trial["status"] for trial in package.read(str(results)).trials.to_pylist()} == {"finished"}
