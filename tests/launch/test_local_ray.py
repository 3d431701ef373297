"""Each process of a local Ray is killed once: the search goes on, or ends and says so, and nothing is lost."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import descendants
from tiny import EXPERIMENT, Finished, start, tables_of, write
from waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow

STARTING = r"\S*python[\d.]* .*/default_worker\.py"  # a worker that Ray does not know yet
NUM_TRIALS = 14
EXPERIMENT_OF_MANY = (
    EXPERIMENT[: EXPERIMENT.index("  finetune:")]
    .replace("seeds: 2", f"seeds: {NUM_TRIALS // 2}")
    .replace("epochs: 4", "epochs: 12")
)
# By name: what its command line begins with, and whether the search goes on without it.
PROCESSES = {
    "gcs_server": (r"\S+/gcs_server ", False),
    "raylet": (r"\S+/raylet/raylet ", False),
    "dashboard agent": (r"\S*python[\d.]* -I -S -c import os", False),
    "runtime environment agent": (r"ray::RuntimeEnvAgent", False),
    "trial": (r"ray::TrialProcess", True),
}


def test_each_is_killed(finished: Callable[..., Finished], tmp_path: Path) -> None:
    """One after the other, each a row or more after the last one; a search that this ends is begun again.

    With one trial at a time, a worker that Ray had started in advance would be idle.
    """
    expected, results = finished(EXPERIMENT_OF_MANY), tmp_path / "results"
    left = dict(PROCESSES)
    driver = start(expected.file, results, "--max-concurrent", 1)
    while left:
        name, (pattern, goes_on) = next(iter(left.items()))
        wait_for_another_row(results, driver)
        lines = processes_with(pattern, driver)
        known = [STARTING, *(one for one, _ in PROCESSES.values())]
        others = [line for line in lines.values() if not any(re.match(one, line) for one in known)]
        assert others == [], "a process that is not in the table"
        os.kill(matching(pattern, lines)[0], signal.SIGKILL)
        del left[name]
        killed = time.monotonic()
        if goes_on and left:
            continue
        printed, _ = driver.communicate(timeout=PATIENCE)
        sys.stdout.write(f"{name}: exit code {driver.returncode} after {time.monotonic() - killed:.1f} s\n")
        assert "Traceback" not in printed
        if goes_on:
            assert driver.returncode == 0, printed
            continue
        assert driver.returncode == 1, printed
        assert "lost" in printed, printed
        assert "the same command goes on from here" in printed
        assert len(rows_of(results)) < NUM_TRIALS, "the search was over before"
        driver = start(expected.file, results, "--max-concurrent", 1)
    assert tables_of(results) == tables_of(expected.results)


def test_a_start_that_hangs_ends(tmp_path: Path) -> None:
    """Ray waits for the worker that it starts in advance, for ever where this one dies before it has registered.

    raysl has Ray start none, but a variable that the user has set stays.
    """
    impatient = (
        "import raysl.launch.cluster.ray_cluster as c; c.START_SECONDS = 15.0; from raysl.cli import main; main()"
    )
    arguments = ["tune", str(write(tmp_path)), "--results", str(tmp_path / "results")]
    driver = subprocess.Popen(
        [sys.executable, "-c", impatient, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_prestart_worker_first_driver": "1"},
    )
    os.kill(matching(STARTING, processes_with(STARTING, driver))[0], signal.SIGKILL)
    printed, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, printed
    assert "starting Ray, for 0.25 min at most ..." in printed


def processes_with(pattern: str, driver: subprocess.Popen[str]) -> dict[int, str]:
    """Return the driver's descendants, once there is one whose command line begins so."""
    lines: dict[int, str] = {}

    def is_there() -> bool:
        lines.clear()
        lines.update(descendants(driver.pid))
        return bool(matching(pattern, lines))

    wait_for(pattern, is_there, driver)
    return lines


def matching(pattern: str, lines: dict[int, str]) -> list[int]:
    return [pid for pid, line in lines.items() if re.match(pattern, line)]


def wait_for_another_row(results: Path, driver: subprocess.Popen[str]) -> None:
    before = len(rows_of(results))
    wait_for("another finished trial", lambda: len(rows_of(results)) > before, driver)


def rows_of(results: Path) -> list[Path]:
    return list((results / "rows").glob("*.parquet"))
