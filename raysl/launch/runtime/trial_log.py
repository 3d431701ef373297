"""A trial's log: a file of its output, its log records and the exception that ended it."""

import faulthandler
import io
import logging
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

from raysl.errors import ResultsError
from raysl.outgoing import mask
from raysl.results.storage.store import Store
from raysl.training.paths import log_path

DIED = "its process died"
MOST = 300  # characters of a reason that the trial's own log does not hold
RECORD = re.compile(r"\d{4}-\d\d-\d\d ")  # the beginning of a log record


@contextmanager
def trial_log(store: Store, trial_id: str, rank: int) -> Iterator[None]:
    """Append a trial's output, log records and exception to its own file in the results folder."""
    name = log_path(trial_id) if rank == 0 else log_path(f"{trial_id}.rank{rank}")
    with (
        _log_file(store, name) as file,
        _logging_to(file),
        _faults_to(file),
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        try:
            yield
        except BaseException:
            traceback.print_exc(file=file)
            raise


class _Log(io.TextIOWrapper):
    """A text file that masks secrets and ignores write errors: a full disk must not fail a trial through its log.

    After it is closed, text goes to the current standard error: libraries keep the standard error of their import, and
    may write to it after the trial has ended.
    """

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file, encoding="utf-8", errors="replace", write_through=True)

    def write(self, text: str) -> int:
        with suppress(OSError):
            if self.closed:
                sys.stderr.write(text)
            else:
                super().write(mask(text))
        return len(text)

    def flush(self) -> None:
        if not self.closed:
            super().flush()


@contextmanager
def _log_file(store: Store, name: str) -> Iterator[_Log]:
    """Yield a file to append to a log; for an object store, a temporary file that is sent there afterwards."""
    path = store.local_path(name)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Log(io.FileIO(path, "a")) as file:
            yield file
        return
    with tempfile.TemporaryFile(buffering=0) as kept:  # without a name, so a killed trial leaves nothing
        assert isinstance(kept, io.FileIO)
        file = _Log(kept)
        try:
            yield file
        finally:
            with suppress(ResultsError):  # a lost log must not fail the trial, or hide its exception
                kept.seek(0)
                before = store.read(name) if store.exists(name) else b""
                store.write(name, before + kept.read())


def reason_of_death(store: Store, trial_id: str, why: str) -> str:
    """Return the exception that ended a trial, or that its process died; in that case, add `why` to its log.

    why: what the driver knows of the failure, in many lines.
    """
    logs = [name for name in store.list("logs", ".log") if name.startswith(trial_id)]
    reason = last_error(store, trial_id)
    if reason == DIED:
        _note(store, log_path(trial_id), why.strip() or DIED)
    last = why.strip().splitlines()[-1:]
    return reason if logs or not last else f"{DIED}: {last[0][:MOST]}"


def _note(store: Store, name: str, why: str) -> None:
    with suppress(ResultsError):
        before = store.read(name) if store.exists(name) else b""
        store.write(name, before + f"{why}\n".encode(errors="replace"))


def last_error(store: Store, trial_id: str) -> str:
    """Return the exception at the end of a trial's log, or of the log of one of its other ranks."""
    names = [name for name in store.list("logs", ".log") if name.startswith(trial_id)]
    errors = [_last_error(store, f"logs/{name}") for name in sorted(names, key=len)]
    return next((error for error in errors if error != DIED), DIED)


def _last_error(store: Store, path: str) -> str:
    lines = store.read(path).decode(errors="replace").splitlines()
    begins = [index for index, line in enumerate(lines) if line.startswith("Traceback ")]
    last = lines[begins[-1] + 1 :] if begins else []
    if any(RECORD.match(line) for line in last):
        return DIED  # the trial continued after that exception
    return mask(next((line for line in last if line and not line.startswith(" ")), DIED))


@contextmanager
def _faults_to(file: Any) -> Iterator[None]:
    were_told = faulthandler.is_enabled()
    faulthandler.enable(file)
    try:
        yield
    finally:
        faulthandler.disable()
        if were_told and sys.__stderr__ is not None:
            with suppress(ValueError, OSError):  # it is closed
                faulthandler.enable(sys.__stderr__)


@contextmanager
def _logging_to(file: Any) -> Iterator[None]:
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("raysl")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
