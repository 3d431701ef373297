"""Attacks run in a process of their own, case by case, within bounds of time and memory.

An attack is a module with `cases(seed, count)` and `run(case)`, which returns what came of a case: `accepted`,
`refused` (with one of the package's own errors) or what is at fault.
`outcomes` adds the faults that only another process sees.
"""

import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from attacks.outcomes import ACCEPTED, REFUSED

SECONDS = 5.0  # for a case
MEGABYTES = 500  # for a case, beyond what the process has before
ROOM = 4 << 30  # bytes of addresses beyond it: what is reserved and not used counts too
STARTED = 120.0  # seconds for a process to be there

Run = Callable[[Any], str]


class Outcome(NamedTuple):
    """What came of a case: `accepted`, `refused` or a fault, and the case."""

    what: str
    case: Any

    @property
    def is_fault(self) -> bool:
        return self.what not in (ACCEPTED, REFUSED)


def outcomes(run: Run, cases: Iterable[Any], seconds: float = SECONDS, megabytes: int = MEGABYTES) -> Iterator[Outcome]:
    """Yield what comes of each case, in their order; a process that dies or is too slow is replaced."""
    with tempfile.TemporaryDirectory() as scratch:  # for what a process that is killed leaves
        worker = _Worker(run, scratch)
        try:
            for case in cases:
                what, peak = worker.ask(case, seconds)
                if peak > megabytes:
                    what = f"takes {peak} MB"
                yield Outcome(what, case)
                if not worker.process.is_alive():
                    worker = _Worker(run, scratch)
        finally:
            worker.end()


class _Worker:
    def __init__(self, run: Run, scratch: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(run, scratch, other), daemon=True)
        self.process.start()
        other.close()
        assert self.connection.poll(STARTED), "the process does not start"
        self.connection.recv()

    def ask(self, case: Any, seconds: float) -> tuple[str, int]:
        self.connection.send(case)
        if not self.connection.poll(seconds):
            self.end()
            return f"takes more than {seconds} s", 0
        try:
            answer: tuple[str, int] = self.connection.recv()
        except EOFError:
            self.process.join()
            return f"the process dies ({self.process.exitcode})", 0
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(run: Run, scratch: str, connection: Connection) -> None:
    tempfile.tempdir = scratch
    limit = _kilobytes("VmSize") * 1024 + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send("ready")
    while True:
        case = connection.recv()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _kilobytes("VmRSS")
        what = run(case)
        connection.send((what, (_kilobytes("VmHWM") - before) // 1024))


def _kilobytes(fact: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{fact}:"))


def judged(act: Callable[[], object], refusal: type[Exception]) -> str:
    """Return what comes of an act: accepted, refused with an error of one line, or what it raises."""
    try:
        act()
    except refusal as error:
        text = str(error)
        return REFUSED if text and "\n" not in text else f"a message of several lines or none: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ACCEPTED
