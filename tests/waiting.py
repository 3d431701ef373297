"""Waiting for what another process does, and how long that takes on this machine."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

PATIENCE = 600.0  # seconds for what is sure to come
QUIET = 0.3  # seconds that a quiet machine of today takes to start Python with numpy and pyarrow


def wait_for(
    what: str, condition: Callable[[], object], driver: subprocess.Popen[str] | None = None, seconds: float = PATIENCE
) -> None:
    """Wait until something is so, and fail where it is not within so many seconds.

    driver: fails as soon as this process has ended without it.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if driver is not None and driver.poll() is not None and not condition():
            raise AssertionError(f"no {what}: the process has ended: {driver.communicate()[0]}")
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        time.sleep(0.02)


def slowness() -> float:
    """Return how many times as slow this machine is, at this moment, as a quiet one."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import numpy, pyarrow"], check=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) / QUIET
