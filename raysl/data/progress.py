"""Progress reports of slow steps."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
STEP = 512  # images between two reports


class Progress(Protocol):
    """Called with the step's name, the bytes or images that are done, and their total (None: unknown)."""

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


def reported(items: Iterable[T], what: str, total: int | None, progress: Progress | None) -> Iterator[T]:
    """Yield the items; report their number after every `STEP` items and at the end."""
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if progress and done % STEP == 0:
            progress(what, done, total)
    if progress:
        progress(what, done, total)
