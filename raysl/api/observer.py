"""The observers of the Python entry, which receive the events of a search."""

from typing import Protocol, runtime_checkable

from raysl.errors import UserError, quoted
from raysl.launch.driver import observer as launch_observer


class Preparation(Protocol):
    """Receives the events before a search."""

    def noted(self, text: str) -> None:
        """A choice was made that the caller may not expect, such as a default that decides every number."""
        return

    def preparing(self, what: str, done: int, total: int | None) -> None:
        """A download or a pass over images has progressed; done, total: bytes or images, total is None if unknown."""
        return


@runtime_checkable
class Observer(launch_observer.Observer, Preparation, Protocol):
    """Receives the events of a search, in the thread that called `raysl.tune`; a subclass overrides what it needs.

    An exception of a method ends the search and is raised by `raysl.tune`; finished trials are kept.

    Example:
        class Progress(raysl.Observer):
            def trial_ended(self, row):
                print(row.trial_id, row.status, row.final_loss)
    """


class Silent(Observer):
    """An observer that does nothing."""


def checked_observer(observer: Observer | None) -> Observer:
    """Return the given observer, or a silent one for None; raises UserError if it is not an observer."""
    if observer is None:
        return Silent()
    if isinstance(observer, type) or not isinstance(observer, Observer):
        raise UserError(f"observer: {quoted(observer)}: an object of a class that derives from raysl.Observer")
    return observer
