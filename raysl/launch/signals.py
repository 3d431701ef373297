"""The signals that end a command: what they become, and what they must not interrupt.  No ray."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)
_raised: int | None = None  # within the block
_in_command = False  # whether the process is a command's, within `raised`
INSISTENT = 3  # so many of them while a block must not be disturbed end a command's process outright


class Ended(KeyboardInterrupt):
    """A signal asks the command to end; no `Exception`, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that the signal has ended."""
        return 128 + self.number

    def __str__(self) -> str:
        return "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"


@contextmanager
def raised() -> Iterator[None]:
    """Have signals that end a command raise `Ended` within this block; one that the caller ignores stays ignored."""
    global _raised, _in_command
    _raised, _in_command = None, True
    try:
        with _handled(_raise):
            yield
    finally:
        _raised, _in_command = None, False


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put signals off until this block is done, because what it removes would stay for good.

    They are then handled as before, in a process that is not a command's by whatever its program has set.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if _in_command and len(noted) >= INSISTENT:
            os._exit(128 + number)

    with _handled(note):
        yield
    if noted and sys.exc_info()[0] is None:
        signal.raise_signal(noted[0])


def ended_by(error: KeyboardInterrupt) -> Ended:
    """Return what a signal has raised, also where a library has raised another interrupt in its place."""
    return error if isinstance(error, Ended) else Ended(_raised or int(signal.SIGINT))


def check() -> None:
    """Raise `Ended` where a signal has raised it and it was lost, as in what runs while an object is destroyed."""
    if _raised is not None:
        raise Ended(_raised)


def _raise(number: int, frame: FrameType | None) -> None:
    global _raised
    _raised = number
    raise Ended(number)


@contextmanager
def _handled(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one is told of signals
        with _kept_below_python():
            yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, known in before.items():
        if known is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, signal.SIG_DFL if known is None else known)


@contextmanager
def _kept_below_python() -> Iterator[None]:
    """Put back the process's handlers after this block, as a library of C++ may set its own.

    Python's `signal.signal` would do so in the main thread alone.
    """
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype = put.restype = ctypes.c_void_p
    get.argtypes, put.argtypes = (ctypes.c_int,), (ctypes.c_int, ctypes.c_void_p)
    before = {number: get(number) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            put(number, handler)
