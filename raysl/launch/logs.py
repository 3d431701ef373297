"""A trial's log: everything that it prints, logs or dies of, in a file of its own."""

import faulthandler
import logging
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from raysl.results.store import Store
from raysl.training.paths import log_path

DIED = "its process died"
RECORD = re.compile(r"\d{4}-\d\d-\d\d ")  # how a log record begins


@contextmanager
def trial_log(store: Store, trial_id: str, rank: int) -> Iterator[None]:
    """Send everything that a trial prints, logs or dies of to its own file in the results folder."""
    name = log_path(trial_id) if rank == 0 else log_path(f"{trial_id}.rank{rank}")
    path = store.local_path(name) or Path(tempfile.gettempdir()) / f"raysl-{os.getpid()}-{trial_id}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1) as file, _logging_to(file), redirect_stdout(file), redirect_stderr(file):
        faulthandler.enable(file)
        try:
            yield
        except BaseException:
            traceback.print_exc(file=file)
            raise
        finally:
            faulthandler.disable()
            if store.local_path(name) is None:
                file.flush()
                before = store.read(name) if store.exists(name) else b""
                store.write(name, before + path.read_bytes())
                path.unlink()


def last_error(store: Store, trial_id: str) -> str:
    """Return the exception that a trial's log, or that of another of its ranks, ends with."""
    names = [name for name in store.list("logs", ".log") if name.startswith(trial_id)]
    errors = [_last_error(store, f"logs/{name}") for name in sorted(names, key=len)]
    return next((error for error in errors if error != DIED), DIED)


def _last_error(store: Store, path: str) -> str:
    lines = store.read(path).decode(errors="replace").splitlines()
    begins = [index for index, line in enumerate(lines) if line.startswith("Traceback ")]
    last = lines[begins[-1] + 1 :] if begins else []
    if any(RECORD.match(line) for line in last):
        return DIED  # it went on after that exception
    return next((line for line in last if line and not line.startswith(" ")), DIED)


@contextmanager
def _logging_to(file: Any) -> Iterator[None]:
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("raysl")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
