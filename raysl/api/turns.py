"""Allows one search or training at a time in a process, which has one torch random state and one standard output."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from raysl.errors import UserError

_turn = threading.Lock()
_holder: int | None = None  # id of the thread that holds the lock


@contextmanager
def own_turn() -> Iterator[None]:
    """Wait until no other thread of this process searches or trains; make others wait within this block.

    Raises UserError if this thread already searches or trains, as within an observer.
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
