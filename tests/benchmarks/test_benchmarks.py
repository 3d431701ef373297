"""The documented command of each benchmark runs to its end, at its smallest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
# By benchmark: its options, and what it prints at its end.
SMALLEST = {
    "data": (["--sets", "mnist", "--processes", "2"], r"128 images .*each"),
    "gpu": (["--steps", "1", "--repetitions", "1", "--processes", "1"], "no GPU is here|times as|x as fast"),
    "scale": (["--trials", "10", "--times", "1"], r"\n10 trials +\d"),
    "search_efficiency": (["--set", "seeds=1", "--set", "stages.semi.epochs=1", "--repeats", "1"], "efficiency"),
    "search_overhead": (["--trials", "2", "--nested", "2", "--workers", "1"], r"nested takes \d+ x as much as raysl"),
    "start": (["--repeats", "1"], r"to its end +\d"),
    "training_steps": (
        ["--methods", "rotation", "--sizes", "32", "--steps", "1", "--repetitions", "1"],
        r"rotation.* \d",
    ),
}


def test_each_is_run() -> None:
    documented = {
        path.stem for path in FOLDER.glob("*.py") if f"uv run python tests/benchmarks/{path.name}" in path.read_text()
    }
    assert documented - {Path(__file__).stem} == SMALLEST.keys()


@pytest.mark.parametrize("name", SMALLEST)
def test_its_command_runs(name: str) -> None:
    """Through `uv run`, as it is documented, which Ray would have each of its processes start through as well."""
    if name == "data" and "RAYSL_DATA" not in os.environ:
        pytest.skip("RAYSL_DATA names no folder of real images")
    python = ["uv", "run", "--no-sync", "python"] if shutil.which("uv") else [sys.executable]
    options, said = SMALLEST[name]
    command = [*python, str(FOLDER / f"{name}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=FOLDER.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(said, done.stdout), done.stdout
