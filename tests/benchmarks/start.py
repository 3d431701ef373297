"""What a user waits for before anything trains, and what of it is Ray's and torch's own.

    uv run python tests/benchmarks/start.py [--repeats 5]

Prints medians of the wall seconds (and the user seconds of the process itself) of `raysl --help`, of `raysl tune FILE
--dry-run`, and of a search from its command to the end of its first trial's first step; beside them what a plain script
takes to import torch, to import Ray Tune and Ray Train, and to start and leave a local Ray.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

EXPERIMENT = """\
name: first_step
data: {source: digits, labels: 20}
model: {backbone: small_resnet, features: 4}
seeds: 1
stages:
  only:
    method: {name: supervised}
    epochs: 1
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
"""
RAYSL = "from raysl.cli import main; main()"
OWN = {
    "import torch": "import torch",
    "import ray.tune, ray.train": "import ray.tune, ray.train",
    "start and leave a local Ray": (
        "import ray; ray.init(address='local', include_dashboard=False, log_to_driver=False, logging_level='ERROR'); "
        "ray.shutdown()"
    ),
}


def seconds_of(code: str, *arguments: object) -> tuple[float, float]:
    """Return the wall and the user seconds of a Python process."""
    started, before = time.perf_counter(), os.times().children_user
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - started, os.times().children_user - before


def first_step(file: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds from a search's command to the end of its first step, and to its own end."""
    results = tempfile.mkdtemp(dir=folder)
    started = time.time()
    wall, _ = seconds_of(RAYSL, "tune", file, "--results", results)
    [log] = Path(results, "logs").glob("*.log")
    line = next(line for line in log.read_text().splitlines() if "epoch 1 of 1" in line)
    ended = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    return ended - started, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "first_step.yaml"
        file.write_text(EXPERIMENT)
        wanted: dict[str, Callable[[], tuple[float, float]]] = {
            "raysl --help": lambda: seconds_of(RAYSL, "--help"),
            "raysl tune FILE --dry-run": lambda: seconds_of(
                RAYSL, "tune", file, "--results", folder / "r", "--dry-run"
            ),
        }
        wanted |= {name: lambda code=code: seconds_of(code) for name, code in OWN.items()}
        print(f"{'what':<44}{'wall (s)':>10}{'user (s)':>10}")
        for what, measure in wanted.items():
            measured = [measure() for _ in range(repeats)]
            wall, user = (statistics.median(values) for values in zip(*measured, strict=True))
            print(f"{what:<44}{wall:>10.2f}{user:>10.2f}")
        measured = [first_step(file, folder) for _ in range(repeats)]
        step, wall = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"{'search: to the end of its first step':<44}{step:>10.2f}")
        print(f"{'search of one such trial: to its end':<44}{wall:>10.2f}")


if __name__ == "__main__":
    main()
