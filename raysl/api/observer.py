"""Who is told how a search goes that Python has started."""

from typing import Protocol, runtime_checkable

from raysl.errors import UserError, quoted
from raysl.launch.driver import observer as launch_observer


class Preparation(Protocol):
    """Is told what comes before a search."""

    def noted(self, text: str) -> None:
        """Something that the caller has not said and may not expect, such as a default that decides every number."""
        return

    def preparing(self, what: str, done: int, total: int | None) -> None:
        """A download or a pass over images is so far; bytes or images, `total` None where that is not known."""
        return


@runtime_checkable
class Observer(launch_observer.Observer, Preparation, Protocol):
    """Is told how a search goes, in the thread that called `raysl.tune`; a subclass overrides what it wants to know.

    What a method raises ends the search, and comes out of `raysl.tune`; finished trials are kept.

    Example:
        class Progress(raysl.Observer):
            def trial_ended(self, row):
                print(row.trial_id, row.status, row.final_loss)
    """


class Silent(Observer):
    """Tells nobody."""


def checked_observer(observer: Observer | None) -> Observer:
    """Return an observer; raises UserError for what is none."""
    if observer is None:
        return Silent()
    if isinstance(observer, type) or not isinstance(observer, Observer):
        raise UserError(f"observer: {quoted(observer)}: an object of a class that derives from raysl.Observer")
    return observer
