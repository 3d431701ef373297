"""What a search leaves in Ray's own files of the keys that stand in its environment: nothing."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import Cluster, cluster, descendants
from s3_server import BUCKET, KEY, SECRET, s3_server
from tiny import EXPERIMENT, ONE_PROCESS, command, write
from waiting import PATIENCE

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIANOTTOBESEEN00001",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-key-not-to-be-seen",
    "AWS_SESSION_TOKEN": "session-token-not-to-be-seen",
    "AWS_SECURITY_TOKEN": "security-token-not-to-be-seen",
    "MLFLOW_TRACKING_PASSWORD": "password-not-to-be-seen",
    "WANDB_API_KEY": "api-key-not-to-be-seen",
}
SHORT = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]").replace("seeds: 2", "seeds: 1")


def files_holding(folder: Path, *secrets: str) -> list[str]:
    """Return the files below a folder that hold one of some secrets."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of this process's descendants while the block runs."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            seen.update(descendants(os.getpid()).values())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield seen
    finally:
        over.set()
        watching.join()


def run(command: list[str], found: Cluster, folder: Path, **environment: str) -> str:
    """Search on a cluster, with variables that the cluster does not have; return what is printed."""
    scratch = folder / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        command,
        env={**found.environment, **environment, "TMPDIR": str(scratch)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    time.sleep(1)  # for Ray's logs to be written
    assert list((found.folder / "ray").rglob("runtime_env*.log")), "Ray keeps its logs elsewhere"
    return done.stdout + done.stderr


@pytest.mark.alike("secrets in Ray")
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
def test_keys_of_the_environment_reach_no_file_of_ray_and_no_command_line(tmp_path: Path, workers: int) -> None:
    """Ray writes runtime environments to its logs, and Ray Tune copies AWS's keys into them."""
    with cluster(2) as found, command_lines() as seen:
        options = ["--address", found.address, "--set", f"resources.workers={workers}", *ONE_PROCESS]
        given = command("tune", write(tmp_path, SHORT), "--results", tmp_path / "results", *options)
        printed = run(given, found, tmp_path, **KEYS)
        secrets = [*KEYS.values(), found.environment["RAY_AUTH_TOKEN"]]
        left = [path for folder in (found.folder, tmp_path) for path in files_holding(folder, *secrets)]
    assert left == []
    assert any("raylet" in line for line in seen)
    assert not any(secret in line for line in [printed, *seen] for secret in secrets)


@pytest.mark.alike("secrets in Ray")
@pytest.mark.slow
def test_keys_of_a_results_address_reach_no_file_of_ray(tmp_path: Path) -> None:
    with s3_server() as server, cluster(1) as found:
        results = f"s3://{KEY}:{SECRET}@{BUCKET}/results?{server.query}"  # which the command line refuses
        code = (
            f"import raysl; raysl.tune({str(write(tmp_path, SHORT))!r}, results={results!r}, address={found.address!r})"
        )
        printed = run([sys.executable, "-c", code], found, tmp_path)
        left = [path for folder in (found.folder, tmp_path) for path in files_holding(folder, SECRET)]
    assert left == []
    assert SECRET not in printed
