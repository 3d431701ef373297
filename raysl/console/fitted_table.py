"""Tables that fit the screen, whatever its width: no cell is cut."""

import textwrap
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raysl.outgoing.harmless import one_line

_BORDER = 3  # columns of the screen that a column takes beside its text

Row = Sequence[str | Text]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    left: whether it is aligned to the left.  key: whether it names the rows, and so stands in each part of the table.
    spare: whether a table without it is better than a table in parts.
    least: width that its cells may be wrapped to, of a column of sentences; None keeps each cell in its lines.
    """

    title: str
    left: bool = False
    key: bool = False
    spare: bool = False
    least: int | None = None


def print_table(
    console: Console, title: str, columns: Sequence[Column], rows: Sequence[Row], *, bold: Container[int] = (),
    lines: bool = False,
) -> None:  # fmt: skip
    """Print a table on a console.

    If it is wider than the screen, titles are wrapped; then spare columns go; then the columns are shared among several
    tables, each with the key columns.  A cell that is wider than the screen is folded.
    rows: a cell for each column; a `Text` keeps its style and its lines.  bold: numbers of the rows in bold.
    lines: whether a line is drawn between rows.
    """
    cells = [[cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row] for row in rows]
    titles = [one_line(column.title) for column in columns]
    widths = [max([_width(row[place]) for row in cells], default=0) for place in range(len(columns))]
    widths = [min(width, one.least or width) for width, one in zip(widths, columns, strict=True)]
    for number, (shown, names) in enumerate(_parts(columns, titles, widths, console.width)):
        heading = Text(one_line(title), "table.title") if title and number == 0 else None
        table = Table(title=heading, title_justify="left", show_lines=lines)
        fits = _total(shown, dict(zip(shown, names, strict=True)), widths) <= console.width
        for place, name in zip(shown, names, strict=True):
            stays = columns[place].least is None and fits
            table.add_column(
                Text(name), justify="left" if columns[place].left else "right", overflow="fold", no_wrap=stays
            )
        for place, row in enumerate(cells):
            table.add_row(*(row[column] for column in shown), style="bold" if place in bold else None)
        console.print(table)


def _parts(
    columns: Sequence[Column], titles: Sequence[str], widths: Sequence[int], width: int
) -> Iterator[tuple[list[int], list[str]]]:
    """Yield the tables that the columns are shared among: places of columns, and their titles."""
    whole = dict(enumerate(titles))
    wrapped = {place: _wrapped(title, widths[place]) for place, title in whole.items()}
    every = list(range(len(columns)))
    needed = [place for place in every if not columns[place].spare]
    for places, names in ((every, whole), (every, wrapped), (needed, wrapped)):
        if _total(places, names, widths) <= width:
            yield places, [names[place] for place in places]
            return
    keys = [place for place in every if columns[place].key]
    part = list(keys)
    for place in (place for place in every if place not in keys):
        if part != keys and _total([*part, place], wrapped, widths) > width:
            yield part, [wrapped[one] for one in part]
            part = list(keys)
        part.append(place)
    yield part, [wrapped[one] for one in part]


def _total(places: Sequence[int], titles: Mapping[int, str], widths: Sequence[int]) -> int:
    return 1 + sum(_BORDER + max(widths[place], *map(cell_len, titles[place].split("\n"))) for place in places)


def _width(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split("\n")))


def _wrapped(title: str, width: int) -> str:
    """Return a title in lines that are as narrow as the column's cells, where its words allow it."""
    return "\n".join(textwrap.wrap(title, max(width, *map(len, title.split()), 1), break_on_hyphens=False))
