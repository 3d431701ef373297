"""Waiting for what another process does."""

import subprocess
import time
from collections.abc import Callable


def wait_for(
    what: str, condition: Callable[[], object], driver: subprocess.Popen[str] | None = None, seconds: float = 300.0
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
