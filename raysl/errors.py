"""Errors that a user can mend: each names the place, the value and the choices."""

from collections.abc import Iterable
from difflib import get_close_matches

from raysl.outgoing import presentable


class UserError(ValueError):
    """A mistake in what the user gave; shown as its message alone, exit code 2.

    Its message holds no secret, and nothing that steers a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(presentable(message))


class DataError(UserError):
    """A data set that is missing, damaged or too small for what is asked of it."""


class ResultsError(UserError):
    """A results folder that cannot be read or written."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or holds more than tensors and plain values."""


class ResourcesError(UserError):
    """Resources that the cluster can never give."""


class SearchError(RuntimeError):
    """What stops a search in the middle through no mistake of the user's; nothing is lost.

    Its message holds no secret, and nothing that steers a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(presentable(message))


def choices(value: str, valid: Iterable[str]) -> str:
    """Return `did you mean 'a'? choices: a, b, c` for a value that is none of them."""
    names = sorted(map(str, valid))
    near = get_close_matches(value, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}choices: {', '.join(names) or 'none'}"
