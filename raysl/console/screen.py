"""The console that commands print to."""

import json
import os
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from raysl.outgoing import presentable
from raysl.outgoing.harmless import harmless, one_line
from raysl.outgoing.streams import beneath

FILE_WIDTH = 160  # columns without a terminal: tables in a log are not squeezed into 80


class Screen(Console):
    """A console on which text is only text: no markup, no emoji codes, no secrets, and nothing that steers a terminal.

    Styles are given by rich's `Text`.
    """

    def __init__(self, file: TextIO, **options: Any) -> None:
        """Write to a stream; options: of rich's console."""
        super().__init__(file=file, markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print a line; an end of line within a text is written as `\\n`, so that it cannot pass for another line."""
        super().print(*map(_as_line, objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text to be laid out."""
        return super().render_str(presentable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments that are written for a renderable, masked and harmless to a terminal."""
        if isinstance(renderable, Text) and (plain := presentable(renderable.plain)) != renderable.plain:
            renderable = Text(plain, style=renderable.style, justify=renderable.justify, end=renderable.end)
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def _as_line(printed: Any) -> Any:
    if isinstance(printed, Text) and "\n" in printed.plain:
        return Text(one_line(printed.plain), printed.style)
    return one_line(printed) if isinstance(printed, str) else printed


def write_json(console: Console, value: Any) -> None:
    """Write a value as JSON, masked; what JSON does not know is written as text."""
    console.file.write(presentable(json.dumps(value, indent=2, default=_plain)) + "\n")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def screen(file: TextIO | None = None) -> Screen:
    """Return a console as wide as the terminal or `COLUMNS`, or wide enough for tables in a file.

    file: the stream that it writes to; None is the present standard output.
    """
    # Bound to the stream: a trial that is trained in this process redirects standard output to its log.
    console = Screen(beneath(file or sys.stdout))
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = FILE_WIDTH
    return console
