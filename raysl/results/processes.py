"""Which process is which, on which machine."""

import os
from pathlib import Path


def place() -> str:
    """Name the kernel and the set of processes that this process sees; containers of one machine may share a name.

    Within a place a pid means one process at a time.  Empty where that cannot be told.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> str | None:
    """Return when a process began, in its kernel's ticks; None where it is not there, or only waits to be buried."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
