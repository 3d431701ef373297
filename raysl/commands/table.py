"""`raysl table`."""

import io
import sys
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from raysl.console import paper_table
from raysl.console.screen import Screen, screen
from raysl.errors import ResultsError, UserError, choices
from raysl.outgoing import presentable
from raysl.results.records.paper_tables import PaperTables, read_paper_tables
from raysl.results.storage.store import Store
from raysl.results.tables.comparison import ComparedTable, compare, long_form
from raysl.search.summary import summarise_store

FORMATS = ("text", "markdown", "latex", "arrow")


def table(results: str, form: str, output: Path | None, intervals: str | None = None) -> None:
    """Show the papers' tables of a results folder, with our numbers beside the published ones."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: {choices(form, FORMATS)}")
    if form == "arrow" and output is None:
        raise UserError("--format arrow: is no text; give --output FILE.arrow")
    store = Store.open(results, create=False)
    show_tables(store, form, output, screen(), intervals=intervals)


def show_tables(
    store: Store,
    form: str,
    output: Path | None,
    console: Console,
    only: str | None = None,
    intervals: str | None = None,
) -> None:
    """Write a results folder's paper tables in a format, to a file or to the console.

    only: the path of the tables to show; all if None.  intervals: the kind of 95 % intervals; None for deviations.
    Raises ResultsError if there are none.
    """
    found = [tables for tables in read_paper_tables(store) if only in (None, tables.path)]
    if not found:
        raise ResultsError(f"{store}: no table file was searched here; `raysl tune TABLE.yaml` does")
    results = summarise_store(store, curves=False)
    compared = [(tables, compare(tables, results, intervals)) for tables in found]
    if form == "arrow":
        assert output is not None
        _write(output, _arrow(compared))
    elif form == "text" and output is None:
        for tables, cells in compared:
            paper_table.show_text(tables, cells, console)
    else:
        text = _text(compared, form)
        if output is None:
            sys.stdout.write(text)
        else:
            _write(output, presentable(text).encode())


def _text(compared: list[tuple[PaperTables, list[ComparedTable]]], form: str) -> str:
    if form == "text":
        plain = Screen(io.StringIO(), width=10_000, color_system=None, force_terminal=False)
        with plain.capture() as captured:
            for tables, cells in compared:
                paper_table.show_text(tables, cells, plain)
        return captured.get()
    draw = paper_table.latex if form == "latex" else paper_table.markdown
    return "\n".join(draw(tables, cells) for tables, cells in compared)


def _arrow(compared: list[tuple[PaperTables, list[ComparedTable]]]) -> bytes:
    table = pa.concat_tables([long_form(tables, cells) for tables, cells in compared])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _write(output: Path, content: bytes) -> None:
    try:
        output.write_bytes(content)
    except OSError as error:
        raise UserError(f"--output {output}: {error.strerror}") from None
