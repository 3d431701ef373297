"""What a search leaves in Ray's own files of the keys that stand in its environment: nothing."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clusters import cluster, descendants
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


def holding(text: bytes) -> list[str]:
    return [name for name, secret in KEYS.items() if secret.encode() in text]


def files_holding(folder: Path) -> dict[str, list[str]]:
    """Return the files below a folder that hold a key, each with the keys' names."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = {str(path.relative_to(folder)): holding(path.read_bytes()) for path in files}
    return {path: names for path, names in found.items() if names}


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


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
def test_keys_of_the_environment_reach_no_file_of_ray_and_no_command_line(tmp_path: Path, workers: int) -> None:
    """Ray writes runtime environments to its logs, and Ray Tune copies AWS's keys into them."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file, results = write(tmp_path, SHORT), tmp_path / "results"
    with cluster(2) as found, command_lines() as seen:
        options = ["--address", found.address, *ONE_PROCESS, "--set", f"resources.workers={workers}"]
        done = subprocess.run(
            command("tune", file, "--results", results, *options),
            env={**os.environ, **KEYS, "TMPDIR": str(scratch), "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        time.sleep(1)  # for the logs to be written
        assert done.returncode == 0, done.stdout + done.stderr
        logs = list((found.folder / "ray").rglob("runtime_env*.log"))
        assert logs, "Ray keeps its logs elsewhere"
        left = {place: files_holding(folder) for place, folder in (("ray", found.folder), ("results", tmp_path))}
    assert left == {"ray": {}, "results": {}}
    assert any("raylet" in line for line in seen)
    assert holding("\n".join(seen).encode()) == []
    assert holding((done.stdout + done.stderr).encode()) == []
