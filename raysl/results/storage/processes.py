"""Identities of processes, over machines and containers."""

import os
from pathlib import Path


def place() -> str:
    """Return a name for the kernel's boot and the pid namespace of this process; empty if they are unknown.

    Within such a place, a pid belongs to one process at a time.  Host names do not suffice: containers may share one.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> str | None:
    """Return when a process began, in its kernel's clock ticks; None if it does not exist, or is a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
