"""The documented command of each benchmark runs to its end, at its smallest."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import PATIENCE

from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
SHORT = ["seeds=1", "stages.semi.epochs=1", "stages.semi.optimizer.lr=0.001"]
# By benchmark: its options, and what it prints at its end. They end the slow tests, and so the longest come first.
SMALLEST = {
    "search_overhead": (["--trials", "2", "--nested", "2", "--workers", "1"], r"nested takes \d+ x as much as raysl"),
    "consistency_speed": (
        [
            *("--sizes", "32", "--models", "small_resnet", "--methods", "fixmatch"),
            *("--images", "8", "--steps", "1", "--repetitions", "1"),
        ],
        r"fixmatch .* \d+\.\d\d",
    ),
    "search_efficiency": (
        [*(word for change in SHORT for word in ("--set", change)), "--repeats", "1"],
        "median: efficiency",
    ),
    "data": (["--sets", "mnist", "--processes", "2"], r"128 images .*each"),
    "diverging": (["--configs", "3", "--seeds", "1"], r"told as diverged: \d"),
    "gpu": (["--trials", "semi", "--repetitions", "1", "--processes", "1"], "no GPU is here|x as fast"),
    "races": (["--races", "20", "--configs", "3", "--seeds", "5"], r"\nunlike +0\.00"),
    "races_of_proposals": (
        ["--races", "2", "--configs", "3", "--seeds", "3", "--scales", "8"],
        r"\nRandomSampler, all 4 races: \d+\.\d\d",
    ),
    "scale": (["--trials", "10", "--times", "1"], r"\n10 trials +\d"),
    "segmentation_speed": (
        ["--models", "small_resnet", "--size", "32", "--batch", "2", "--steps", "1", "--repetitions", "1"],
        r"small_resnet .* \d+\.\d\d +\d",
    ),
    "start": (["--repeats", "1"], r"to its end +\d"),
    "svm_scaling": (
        ["--sets", "digits", "--searches", "supervised", "--seeds", "1", "--unlabelled", "64"],
        r"digits supervised/supervised .* \d",
    ),
    "variance_coverage": (["--designs", "20"], r"5 > 3 > 2\n(.* share \d\.\d+\n){3}"),
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


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for $RAYSL_DATA, with a set that is soon decoded."""
    folder = tmp_path_factory.mktemp("sets")
    images = np.random.default_rng(0).integers(256, size=(200, 28, 28), dtype=np.uint8)
    rows = (Row(encode(image), n % 10, "train" if n < 180 else "test") for n, image in enumerate(images))
    write(folder / "mnist.parquet", rows, [str(n) for n in range(10)], "noise", "none")
    return folder


@pytest.mark.alike
@pytest.mark.parametrize("name", SMALLEST)
def test_its_command_runs(name: str, sets: Path) -> None:
    """Through `uv run`, as it is documented, which Ray would have each of its processes start through as well."""
    python = ["uv", "run", "--no-sync", "python"] if shutil.which("uv") else [sys.executable]
    options, said = SMALLEST[name]
    command = [*python, str(FOLDER / f"{name}.py"), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=FOLDER.parents[1],
        env={**os.environ, "RAYSL_DATA": str(sets)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(said, done.stdout), done.stdout
