"""What a slow step tells of how far it has come."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
STEP = 512  # images between two reports


class Progress(Protocol):
    """Called with what is being done, how much of it is done, and of how much (bytes or images; None: unknown)."""

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


def reported(items: Iterable[T], what: str, total: int | None, progress: Progress | None) -> Iterator[T]:
    """Yield the items and report their number now and then."""
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if progress and done % STEP == 0:
            progress(what, done, total)
    if progress:
        progress(what, done, total)
