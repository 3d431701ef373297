"""Each process of a local Ray is killed once: the search goes on, or ends and says so, and nothing is lost."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from clusters import descendants
from tiny import EXPERIMENT, Finished, inline, start, tables_of, write
from waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow

TWELVE = (
    EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("seeds: 2", "seeds: 6").replace("epochs: 4", "epochs: 12")
)
# By name: what its command line has in it, and whether the search can go on without it.
PROCESSES = {
    "gcs_server": (r"\S+/gcs_server ", False),
    "raylet": (r"\S+/raylet/raylet ", False),
    "dashboard": (r"\S+python.* \S+/dashboard/dashboard\.py", None),
    "dashboard agent": (r"ray::DashboardAgent", None),
    "runtime environment agent": (r"ray::RuntimeEnvAgent", None),
    "log monitor": (r"\S+python.* \S+/log_monitor\.py", True),
    "autoscaler's monitor": (r"\S+python.* \S+/monitor\.py", True),
    "trial": (r"ray::TrialProcess", True),
}


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("twelve")
    file = write(folder, TWELVE)
    done = inline("tune", file, "--results", folder / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    return Finished(file, folder / "results", done.stdout)


@pytest.mark.parametrize("name", PROCESSES)
def test_it_is_killed(twelve: Finished, tmp_path: Path, name: str) -> None:
    pattern, goes_on = PROCESSES[name]
    results = tmp_path / "results"
    driver = start(twelve.file, results)
    wait_for("finished trial", lambda: list((results / "rows").glob("*.parquet")), driver)
    lines = descendants(driver.pid)
    found = [pid for pid, line in lines.items() if re.match(pattern, line)]
    others = [line for line in lines.values() if not any(re.match(known, line) for known, _ in PROCESSES.values())]
    assert [line for line in others if not line.startswith("ray::IDLE")] == [], "a process that is not in the table"
    os.kill(found[0], signal.SIGKILL)
    killed = time.monotonic()
    printed, _ = driver.communicate(timeout=PATIENCE)
    took = time.monotonic() - killed
    sys.stdout.write(f"{name}: exit code {driver.returncode} after {took:.1f} s\n")
    assert "Traceback" not in printed
    assert driver.returncode in {True: {0}, False: {1}, None: {0, 1}}[goes_on], printed
    if driver.returncode == 1:
        assert "lost" in printed, printed
        assert "the same command goes on from here" in printed
        rows = len(list((results / "rows").glob("*.parquet")))
        assert 0 < rows < 12, "the search was over before"
        again = inline("tune", twelve.file, "--results", results)
        assert again.returncode == 0, again.stdout + again.stderr
    assert tables_of(results) == tables_of(twelve.results)
