"""A paper's tables in a page: our numbers, the published ones below, each linked to its stage."""

from collections.abc import Container, Sequence

from raysl.reports.page.html import Html, Part, code, joined, table, tag
from raysl.results.records.paper_tables import PaperTables
from raysl.results.tables.cell_patterns import probe_note
from raysl.results.tables.comparison import ComparedCell, ComparedTable

NOTE = (
    "Test accuracy in %, mean ± standard deviation (n - 1) over the seeds of the selected config; small: published. "
    "Bold: the best of a column, and those within its standard deviation."
)


def paper_tables(found: Sequence[tuple[PaperTables, ComparedTable]], known: Container[str], folder: str) -> Html:
    """Return the tables; known: ids of the stages that the page has.  folder: in commands."""
    return joined([_table(tables, one, known, folder) for tables, one in found])


def _table(tables: PaperTables, one: ComparedTable, known: Container[str], folder: str) -> Html:
    columns = one.table.columns
    rows: list[list[Part]] = [
        [title, *(_cell(one.cells.get((row, column)), known) for column in columns)]
        for row, title in one.table.rows.items()
    ]
    profile = f" Profile {tables.profile}." if tables.profile else ""
    missing = sum(bool(cell.missing) for cell in one.cells.values())
    lacking = f" {missing} of {len(one.cells)} cells have no number; the pointer on them shows why." if missing else ""
    probe = f" {note[0].upper()}{note[1:]}." if (note := probe_note([one])) else ""
    command = code(f"raysl table {folder} --format arrow --output {one.table.name}.arrow")
    return tag(
        "section",
        tag("h2", one.table.title),
        tag("p", f"{tables.source}.{profile}"),
        table(["", *columns.values()], rows),
        tag("p", tag("small", f"{NOTE}{probe}{lacking} Rows: ", command)),
    )


def _cell(cell: ComparedCell | None, known: Container[str]) -> Part:
    if cell is None:
        return "–"
    published = cell.cell.published
    printed = _spread(published) if published else ""
    small = tag("small", tag("b", printed) if cell.published_best else printed) if printed else ""
    if cell.ours is None:
        return joined([tag("span", "missing", title=cell.missing), small])
    ours: Part = tag("b", _spread(cell.ours)) if cell.best else _spread(cell.ours)
    about = f"{cell.cell.key}: stage {cell.stage_id}, config {cell.config_id}, {len(cell.trial_ids)} trials"
    link = tag("a", ours, href=f"#{cell.stage_id}", title=about) if cell.stage_id in known else ours
    return joined([link, small])


def _spread(value: tuple[float, float | None]) -> str:
    mean, std = value
    return f"{mean:.1f}" + ("" if std is None else f" ± {std:.1f}")
