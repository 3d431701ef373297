"""The console that commands print to."""

import sys

from rich.console import Console

FILE_WIDTH = 160  # columns where there is no terminal to ask: tables in a log are not squeezed into 80


def screen() -> Console:
    """Return a console as wide as the terminal, or wide enough for tables in a file."""
    # Bound to what standard output is now: a trial that is trained in this process has it sent to its log.
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console
