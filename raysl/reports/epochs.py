"""Figures of a table file whose columns are numbers, as of pre-training epochs (Baier et al. 2024, Figures 3, 5, 6, 7).

    uv run python -m analysis.epochs RESULTS_DIR... [--tables A,B] [--cells A,B] [--x-label WORDS]

A panel per table, a line per row: means of our cells with their standard errors over the seeds. A row that is one
number alone, as of a baseline without pre-training, is a horizontal line. Open marks are published numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysl.errors import ResultsError, UserError, choices
from raysl.reports import axes, figures
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.results import read as read_tables
from raysl.results.records.paper_tables import PaperTables, read_paper_tables
from raysl.results.storage.file_systems import without_keys
from raysl.results.storage.store import Store
from raysl.results.tables.cell_patterns import cell_patterns, probe_note
from raysl.results.tables.comparison import ComparedCell, ComparedTable, compare

MOST_TICKS = 5  # that a panel of half a column has room for
X_LABEL = "pre-training epochs"
NOTE = "Means over the seeds, bars: standard error (standard deviation over the root of the number of seeds)"
PUBLISHED_NOTE = "open: published"
PUBLISHED: dict[str, Any] = {"marker": "o", "markersize": 5.5, "markerfacecolor": "none", "markeredgewidth": 0.8}
OURS: dict[str, Any] = {"marker": "o", "markersize": 2.5, "capsize": 2, "elinewidth": 0.7}
LEVEL: dict[str, Any] = {"linestyle": (0, (4, 2))}

Found = tuple[PaperTables, ComparedTable]


def read_compared(uris: Sequence[str], names: str | None, patterns: str | None = None) -> list[Found]:
    """Return the tables of results folders with our numbers, or those named in a list such as `figure3,figure6`.

    patterns: of the cells that are kept, such as `figure3/sidae/*,figure3/simsiam/*`; all if None.
    Raises ResultsError where no table file was searched, UserError where a name or a pattern is that of nothing.
    """
    found: list[Found] = []
    for uri in dict.fromkeys(uris):
        results = read_tables(uri)
        for tables in read_paper_tables(Store.open(uri, create=False)):
            found += [(tables, one) for one in compare(tables, results)]
    if not found:
        folders = ", ".join(without_keys(uri) for uri in uris)
        raise ResultsError(f"{folders}: no table file was searched here; `raysl tune TABLE.yaml` does")
    if patterns is not None:
        found = _of_cells(found, patterns)
    if names is None:
        return found
    known = [one.table.name for _, one in found]
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise UserError(f"--tables {name}: no such table; {choices(name, known)}")
    return [pair for name in wanted for pair in found if pair[1].table.name == name]


def _of_cells(found: Sequence[Found], patterns: str) -> list[Found]:
    """Return the tables that have cells of some patterns, each with these alone."""
    wanted = [pattern.strip() for pattern in patterns.split(",")]
    keys = [cell.cell.key for _, one in found for cell in one.cells.values()]
    for pattern in wanted:
        if not any(fnmatchcase(key, pattern) for key in keys):
            raise UserError(f"--cells {pattern}: no such cell; {choices(pattern, keys)}")
    kept = []
    for tables, one in found:
        cells = {
            place: cell
            for place, cell in one.cells.items()
            if any(fnmatchcase(cell.cell.key, pattern) for pattern in wanted)
        }
        if cells:
            kept.append((tables, replace(one, cells=cells)))
    return kept


def numbers(one: ComparedTable) -> dict[str, float] | None:
    """Return the columns with the numbers that their titles are; None where one is no number."""
    try:
        found = {name: float(title) for name, title in one.table.columns.items()}
    except ValueError:
        return None
    return found if all(math.isfinite(number) for number in found.values()) else None


def is_level(one: ComparedTable, row: str) -> bool:
    """Return whether a row is one number alone: it has one cell of several columns, or the same for all of them."""
    cells = [cell for (own, _), cell in one.cells.items() if own == row]
    if len(one.table.columns) == 1:
        return False
    sources = {(c.cell.experiment, c.cell.profile, c.cell.overrides, c.cell.stage, c.cell.value) for c in cells}
    stages = {(cell.stage_id, cell.cell.value) for cell in cells if cell.stage_id is not None}
    return len(sources) == 1 or (len(stages) == 1 and all(cell.stage_id for cell in cells))


@figures.styled
def draw(names: Sequence[str], shown: Sequence[ComparedTable], note: str, x_label: str) -> Figure:
    """Draw a panel for each table, and the legend of their rows below."""
    rows = dict.fromkeys(title for one in shown for title in _drawn_rows(one).values())
    colours = {title: figures.colour(place) for place, title in enumerate(rows)}
    figure, drawn = figures.panels(len(shown), note, height=figures.PANEL_HEIGHT + figures.title_height(names))
    for place, (panel, name, one) in enumerate(zip(drawn, names, shown, strict=True)):
        for row, title in _drawn_rows(one).items():
            _draw_row(panel, one, row, colours[title])
        places = list(_numbers(one).values())
        pad = 0.05 * ((max(places) - min(places)) or 1)
        panel.set_xlim(min(places) - pad, max(places) + pad)
        panel.set_xticks(sorted(places, reverse=True)[:: math.ceil(len(places) / MOST_TICKS)])
        panel.margins(y=0.1)
        axes.end_at_100(panel)
        figures.set_title(panel, name)
        panel.set_xlabel(x_label)
        panel.set_ylabel(("accuracy (%)" if probe_note(shown) else "test accuracy (%)") if place % 2 == 0 else "")
    levels = {title for one in shown for row, title in _drawn_rows(one).items() if is_level(one, row)}
    styles = {title: {"color": colour} | (LEVEL if title in levels else {}) for title, colour in colours.items()}
    handles: list[Artist] = [Line2D([], [], **style) for style in styles.values()]
    figures.legend_below(drawn[0], handles, list(styles))
    return figure


def _numbers(one: ComparedTable) -> dict[str, float]:
    found = numbers(one)
    assert found is not None, "others are left out"
    return found


def _drawn_rows(one: ComparedTable) -> dict[str, str]:
    """Return the titles of the rows that have a number of ours, or a published one."""
    known = {row for (row, _), cell in one.cells.items() if cell.ours or cell.cell.published}
    return {row: title for row, title in one.table.rows.items() if row in known}


def _draw_row(panel: Axes, one: ComparedTable, row: str, colour: str) -> None:
    places = _numbers(one)
    cells = {places[column]: cell for (own, column), cell in one.cells.items() if own == row}
    cells = dict(sorted(cells.items()))
    if is_level(one, row):
        _draw_level(panel, next(iter(cells.values())), colour)
    else:
        ours = {place: cell for place, cell in cells.items() if cell.ours}
        means = [cell.ours[0] for cell in ours.values() if cell.ours]
        errors = [cell.standard_error or 0.0 for cell in ours.values()]
        panel.errorbar(list(ours), means, errors, color=colour, **OURS)
        published = {place: cell.cell.published[0] for place, cell in cells.items() if cell.cell.published}
        panel.plot(list(published), list(published.values()), color=colour, linestyle="", **PUBLISHED)


def _draw_level(panel: Axes, cell: ComparedCell, colour: str) -> None:
    if cell.ours:
        mean, error = cell.ours[0], cell.standard_error or 0.0
        panel.axhspan(mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
        panel.axhline(mean, color=colour, **LEVEL)
    if cell.cell.published:
        panel.axhline(cell.cell.published[0], color=colour, linestyle=":", linewidth=0.8)


def _names(shown: Sequence[Found]) -> list[str]:
    """Return the tables' titles, with their profile or file where two are the same."""
    titles = [one.table.title for _, one in shown]
    profiles = [f"{title}, profile {tables.profile}" for title, (tables, _) in zip(titles, shown, strict=True)]
    return [long if titles.count(title) > 1 else title for title, long in zip(titles, profiles, strict=True)]


def draw_folder(uri: str, patterns: str | None = None) -> Figure:
    """Return the figure of a folder's tables whose columns are numbers, of those cells alone that patterns name.

    Raises ResultsError where no table file was searched, UserError where no table has such columns.
    """
    found = [pair for pair in read_compared([uri], None, patterns) if numbers(pair[1]) is not None]
    if not found:
        raise UserError(f"{without_keys(uri)}: no table has numbers for columns, as of epochs")
    shown = [one for _, one in found]
    if not any(cell.ours for one in shown for cell in one.cells.values()):
        raise ResultsError(f"no cell has a number yet: {'; '.join(_missing(shown))}")
    return draw(_names(found), shown, "", X_LABEL)


def _missing(shown: Sequence[ComparedTable]) -> Mapping[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for cell in (cell for one in shown for cell in one.cells.values() if cell.missing):
        reasons.setdefault(cell.missing, []).append(cell.cell.key)
    return reasons


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("epochs", __doc__ or "")
    options.add_argument("--tables", metavar="A,B", help="only these tables of the table file")
    options.add_argument("--cells", metavar="A,B", help="only these cells: TABLE/ROW/COLUMN, with * for any")
    options.add_argument("--x-label", default=X_LABEL, metavar="WORDS", help=f"what the columns are; {X_LABEL}")
    given = options.parse_args(arguments)
    found = read_compared(given.results, given.tables, given.cells)
    shown = [pair for pair in found if numbers(pair[1]) is not None]
    for _, one in found:
        if numbers(one) is None:
            say(f"left out: {one.table.name}, whose columns are no numbers: {', '.join(one.table.columns.values())}")
    if not shown:
        raise UserError(f"{', '.join(given.results)}: no table has numbers for columns, as of epochs")
    compared = [one for _, one in shown]
    if not any(cell.ours for one in compared for cell in one.cells.values()):
        raise ResultsError(f"no cell has a number yet: {'; '.join(_missing(compared))}")
    folder = out_folder(given.results, given.out)
    published = any(cell.cell.published for one in compared for cell in one.cells.values())
    notes = [
        NOTE,
        probe_note(compared),
        PUBLISHED_NOTE if published else "",
        *dict.fromkeys(t.source for t, _ in shown),
    ]
    note = "; ".join(filter(None, notes))
    figure = draw(_names(shown), compared, note, given.x_label)
    for reason, cells in _missing(compared).items():
        own = [name for one in compared for name in cell_patterns(_missing([one]).get(reason, ()), [one])]
        say(f"missing, {reason} ({len(cells)}): {', '.join(own)}")
    say_written(figures.save(figure, folder, "epochs"))
