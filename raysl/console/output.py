"""Standard output that may be full, closed, or of an encoding that lacks a character."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

BROKEN = 1  # exit code


class BrokenOutputError(Exception):
    """Standard output cannot be written to; the cause says why."""


@contextmanager
def whole_output() -> Iterator[None]:
    """Exit with code 1 if standard output cannot be written to: with one message, or with none if its reader has gone.

    Characters that an encoding lacks are written as escapes such as `\\u2026`.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  (open to the end)
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenOutputError as error:
        _end(error.__cause__)
    except OSError as error:
        if error.filename is not None or not _is_broken():
            raise
        _end(error)


def write(text: str) -> None:
    """Write to standard output, at once.

    Raises BrokenOutputError if that fails; it is no OSError, so that it is not mistaken for a lost connection.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise BrokenOutputError from error


def _end(error: BaseException | None) -> NoReturn:
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        complain(f"error: standard output: {error.strerror}")
    _let_go()
    sys.exit(BROKEN)


def complain(text: str) -> None:
    """Write a line to standard error; if that fails, nothing happens."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _is_broken() -> bool:
    """Return whether standard output cannot be written to."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _let_go() -> None:
    """Discard buffered output: Python would try to write it again when it exits, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
