"""The signals that end a command: raised as exceptions, or deferred where nothing may be interrupted.  No ray."""

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
_raised: int | None = None  # the signal that was raised within `raised`
_in_command = False  # whether the process is within `raised`, which only commands use
INSISTENT = 3  # this many signals within `undisturbed` end a command's process at once


class Ended(KeyboardInterrupt):
    """A signal asks the command to end; not an `Exception`, so no handler of failures catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a process that was ended by the signal."""
        return 128 + self.number

    def __str__(self) -> str:
        return "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"


@contextmanager
def raised() -> Iterator[None]:
    """Raise `Ended` for signals that end a command, within this block; signals that are ignored stay ignored."""
    global _raised, _in_command
    _raised, _in_command = None, True
    try:
        with _handled(_raise):
            yield
    finally:
        _raised, _in_command = None, False


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer signals until this block has ended: files whose removal is interrupted would stay for good.

    A deferred signal is then raised again and handled by the process's previous handler.
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
    """Return the `Ended` of an interrupt; a library may have replaced it by another KeyboardInterrupt."""
    return error if isinstance(error, Ended) else Ended(_raised or int(signal.SIGINT))


def check() -> None:
    """Raise `Ended` again if it was raised but lost, for example within a destructor."""
    if _raised is not None:
        raise Ended(_raised)


def _raise(number: int, frame: FrameType | None) -> None:
    global _raised
    _raised = number
    raise Ended(number)


@contextmanager
def _handled(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
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
    """Restore the process's signal handlers after this block, because a C++ library may set its own.

    `signal.signal` works in the main thread alone, so this calls the C functions of Python.
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
