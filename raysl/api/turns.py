"""One search or training at a time in a process: torch's random numbers and standard output are the process's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from raysl.errors import UserError

_turn = threading.Lock()
_holder: int | None = None  # the thread that has it


@contextmanager
def own_turn() -> Iterator[None]:
    """Wait until no other thread of this process searches or trains, and keep others waiting within this block.

    Raises UserError where this very thread does, as from within an observer.
    """
    global _holder
    if _holder == threading.get_ident():
        raise UserError("this thread is searching or training already: an observer cannot begin another search")
    with _turn:
        _holder = threading.get_ident()
        try:
            yield
        finally:
            _holder = None
