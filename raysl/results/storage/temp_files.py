"""Temporary files, under names that identify the process that writes them."""

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from raysl.results.storage.processes import place, started

NAME = re.compile(r"\..+?(\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+))?\.[0-9a-f]{32}\.tmp")
LIFETIME = 3600.0  # seconds; no write takes as long


def temporary_of(target: Path) -> Path:
    """Return the temporary path of a file: a hidden name that identifies the writing process."""
    return target.with_name(f".{target.name}.{_machine()}-{os.getpid()}.{uuid4().hex}.tmp")


def _machine() -> str:
    return hashlib.blake2b(place().encode(), digest_size=4).hexdigest()


def clear(root: Path) -> None:
    """Delete the temporary files of killed processes: those of this machine at once, others when they are old."""
    for path in root.rglob(".*.tmp"):
        with suppress(OSError):
            if (found := NAME.fullmatch(path.name)) and (_is_widowed(found) or _age(path) > LIFETIME):
                path.unlink()


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _is_widowed(name: re.Match[str]) -> bool:
    return bool(place()) and name["machine"] == _machine() and started(int(name["pid"])) is None
