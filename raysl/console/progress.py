"""The display of the steps before a search: notes, and a progress bar for downloads and decoding."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from raysl.data.progress import Progress


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    """Yield a function of (what, done, total) that shows a progress bar for a step until the step is done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def report(what: str, done: int, total: int | None) -> None:
            for over in [one for one in tasks if one != what or done == total]:
                bars.remove_task(tasks.pop(over))
            if done == total:
                return
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


class ShownPreparation:
    """Prints notes, and shows a bar for each slow step; an `api.observer.Preparation`."""

    def __init__(self, console: Console, report: Progress) -> None:
        """Show the steps on a console; report: shows their bars."""
        self.console, self.report = console, report

    def noted(self, text: str) -> None:
        """A choice was made that the user has not asked for and may not expect."""
        note(self.console, text)

    def preparing(self, what: str, done: int, total: int | None) -> None:
        """A slow step has progressed."""
        self.report(what, done, total)


@contextmanager
def preparation(console: Console) -> Iterator[ShownPreparation]:
    """Yield the display of the steps before a search."""
    with progress(console) as report:
        yield ShownPreparation(console, report)


def note(console: Console, text: str) -> None:
    """Print a note about a choice that the user has not asked for and may not expect."""
    console.print(text, style="yellow", markup=False, soft_wrap=True)
