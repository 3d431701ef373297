"""`raysl report`."""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from matplotlib.figure import Figure

from raysl.commands.pictures import refuse
from raysl.console.output import complain, write
from raysl.errors import ResultsError, UserError, choices
from raysl.outgoing import presentable
from raysl.reports import catalogue, epochs, figures
from raysl.reports.choosing import choose
from raysl.reports.page.page import page
from raysl.reports.stages import Searched, stages_of
from raysl.results.records.origins import read_origins
from raysl.results.records.paper_tables import read_paper_tables
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables
from raysl.results.tables.comparison import compare
from raysl.search.summary import summarise_store

WIDTHS = {"column": figures.COLUMN, "page": figures.PAGE}
FONT_SIZES = (4.0, 24.0)  # points
TABLE = "table"  # the figure of a table file, which is of no stage
TABLE_WORDS = "a paper's table whose columns are numbers, as lines"


def report(
    target: str,
    output: Path | None,
    figure: str | None,
    has_list: bool,
    width: str,
    font_size: float,
    names: str | None,
    cells: str | None,
) -> None:
    """Write the page of a results folder, or one figure of it, or list the figures; also during a search."""
    if figure is not None and figure not in _all_words():
        raise UserError(f"--figure {figure}: {choices(figure, _all_words())}")
    size = _size(width, font_size)
    if has_list:
        refuse({"--output": output, "--figure": figure}, "not with --list")
    path = output or Path("report.html" if figure is None else f"{figure}.png")
    if not has_list:
        _check(path, figure)
    store = Store.open(target, create=False)
    tables = summarise_store(store)
    if tables.configs.num_rows == 0:
        raise ResultsError(
            f"{store}: no search has been here; `raysl tune FILE --results {quote(str(store))}` starts one"
        )
    every = list(stages_of(store.uri, tables))
    stages = every if names is None and cells is None else choose(every, [store.uri], names, cells, complain)
    if has_list:
        write("".join(f"{line}\n" for line in _listed(store, stages)))
    elif figure is None:
        _write(path, _page(store, tables, stages))
    else:
        with figures.laid_out(size):
            drawn = _drawn(figure, store, stages, cells)
            _saved(drawn, path)


def _size(width: str, font_size: float) -> figures.Layout:
    if width not in WIDTHS:
        raise UserError(f"--width {width}: {choices(width, WIDTHS)}")
    least, most = FONT_SIZES
    if not least <= font_size <= most:
        raise UserError(f"--font-size {font_size:g}: from {least:g} to {most:g} points")
    return figures.Layout(WIDTHS[width], font_size, has_notes=False)


def _check(path: Path, figure: str | None) -> None:
    """Raise UserError if the path of what is written has another suffix, or nothing can be written there."""
    known = ["html"] if figure is None else list(figures.FORMATS)
    if path.suffix.removeprefix(".").lower() not in known:
        what = "a page" if figure is None else "a figure"
        raise UserError(f"--output {path}: the name of {what} ends in .{' or .'.join(known)}")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: {path.parent} is no folder")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"--output {path}: cannot be written")


def _all_words() -> dict[str, str]:
    return {name: kind.words for name, kind in catalogue.FIGURES.items()} | {TABLE: TABLE_WORDS}


def _listed(store: Store, stages: Sequence[Searched]) -> list[str]:
    """Return a line for each figure: what it shows, and why it cannot be made of these stages."""
    lines = []
    for name, words in _all_words().items():
        if name == TABLE:
            reason = "" if read_paper_tables(store) else "no table file was searched here"
        else:
            reasons = [catalogue.FIGURES[name].obstacle(stage) for stage in stages]
            reason = "" if "" in reasons else "; ".join(dict.fromkeys(reasons))
        lines.append(f"{name:<12} {words}" + (f" (not here: {reason})" if reason else ""))
    return lines


def _page(store: Store, tables: Tables, stages: Sequence[Searched]) -> bytes:
    compared = [(one, own) for one in read_paper_tables(store) for own in compare(one, tables)]
    tell = complain if sys.stderr.isatty() else lambda _: None
    return presentable(page(store.uri, stages, compared, read_origins(store), datetime.now(UTC), tell)).encode()


def _drawn(name: str, store: Store, stages: Sequence[Searched], cells: str | None) -> Figure:
    if name == TABLE:
        return epochs.draw_folder(store.uri, cells)
    return catalogue.draw(catalogue.FIGURES[name], stages, complain)


def _saved(figure: Figure, path: Path) -> None:
    try:
        figures.save_as(figure, path)
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    complain(f"wrote {path}")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
    complain(f"wrote {path} ({len(content) / 1e6:.2f} MB)")
