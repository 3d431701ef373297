"""The signals that end a command: what they become, and what they must not interrupt.  No ray."""

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
_last = int(signal.SIGINT)
INSISTENT = 3  # so many of them while a block must not be disturbed end the process outright


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
    with _handled(_raise):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put signals off until this block is done, because what it removes would stay for good."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if len(noted) >= INSISTENT:
            os._exit(128 + number)

    with _handled(note):
        yield
    if noted and sys.exc_info()[0] is None:
        signal.raise_signal(noted[0])


def last() -> int:
    """Return the number of the signal that was raised last; SIGINT where there was none."""
    return _last


def _raise(number: int, frame: FrameType | None) -> None:
    global _last
    _last = number
    raise Ended(number)


@contextmanager
def _handled(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one is told of signals
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
