"""A paper's tables with our numbers beside the published ones, for a terminal, Markdown and LaTeX."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.text import Text

from raysl.console.fitted_table import Column, print_table
from raysl.outgoing.harmless import one_line
from raysl.results.records.paper_tables import NOT_ASKED, Difference, PaperTables
from raysl.results.tables.cell_patterns import cell_patterns, probe_note, shortened
from raysl.results.tables.comparison import ComparedCell, ComparedTable, Spread
from raysl.statistics.intervals import WORDS

NONE = "–"
_LATEX = {
    "\\": "\\textbackslash{}",
    "^": "\\textasciicircum{}",
    "~": "\\textasciitilde{}",
    "±": "$\\pm$",
    "Δ": "$\\Delta$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
BOLD = "Bold: the highest mean of a column, and those within its standard deviation"
SPREADS = "in brackets what the paper published; means ± sample standard deviations over the seeds, per cent"


def show_text(tables: PaperTables, compared: Sequence[ComparedTable], console: Console) -> None:
    """Print tables to a terminal, and the remarks on their cells."""
    for one in compared:
        columns = [Column("", left=True, key=True), *map(Column, _titles(one))]
        rows: list[list[str | Text]] = [
            [title, *map(Text.from_markup, _row(one, row, _rich_bold, "\n"))] for row, title in one.table.rows.items()
        ]
        print_table(console, _caption(tables, one), columns, rows, lines=True)
    console.print(rule(compared), style="dim", markup=False)
    for line in remarks(tables, compared):
        console.print(line, markup=False, soft_wrap=True)


def markdown(tables: PaperTables, compared: Sequence[ComparedTable]) -> str:
    """Return tables in Markdown."""
    parts = []
    for one in compared:
        lines = [f"### {_caption(tables, one)}", "", _piped(["", *_titles(one)])]
        lines.append("| --- |" + " ---: |" * len(_titles(one)))
        for row, title in one.table.rows.items():
            lines.append(_piped([title, *_row(one, row, "**{}**".format, "<br>")]))
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, f"{rule(compared)}.", *remarks(tables, compared)]) + "\n"


def latex(tables: PaperTables, compared: Sequence[ComparedTable]) -> str:
    """Return tables in LaTeX (booktabs), each a float of its own; missing cells are named in comments."""
    comments = "".join(f"% {line}\n" for line in remarks(tables, compared))
    return comments + "\n".join(_latex_table(tables, one) for one in compared)


def rule(compared: Sequence[ComparedTable]) -> str:
    """Return what the numbers and their bold ones are."""
    spreads = SPREADS
    if kinds := {one.intervals for one in compared} - {None}:
        ours = ", ".join(WORDS[kind] for kind in kinds if kind is not None)
        spreads = f"ours: means and {ours}, per cent; in round brackets what the paper published: means ± deviations"
    return "; ".join(filter(None, [BOLD, spreads, probe_note(compared)]))


def remarks(tables: PaperTables, compared: Sequence[ComparedTable]) -> list[str]:
    """Return a line for each reason why tables or numbers are missing, or configs were chosen from a part of a grid."""
    shown = {one.table.name for one in compared}
    gone = [one.name for one in tables.tables if one.name not in shown]
    reasons = {f"left out, not in profile {tables.profile}": gone} if gone else {}
    for value in (value for one in compared for value in one.cells.values()):
        if value.missing:
            reasons.setdefault(f"missing, {value.missing}", []).append(value.cell.key)
        elif value.num_eligible < value.num_configs:
            left = f"{value.num_eligible} of {value.num_configs} configs"
            reasons.setdefault(f"chosen from {left}, others are not eligible", []).append(value.cell.key)
    return [one_line(f"{reason} ({len(keys)}): {_names(reason, keys, compared)}") for reason, keys in reasons.items()]


def _names(reason: str, keys: Sequence[str], compared: Sequence[ComparedTable]) -> str:
    short = shortened if reason.endswith(NOT_ASKED) else cell_patterns
    return ", ".join(short(keys, compared))


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _caption(tables: PaperTables, one: ComparedTable) -> str:
    return one_line(f"{one.table.title} ({tables.source}; profile {tables.profile})")


def _titles(one: ComparedTable) -> list[str]:
    return [*one.table.columns.values(), *(difference.title for difference in one.table.differences)]


def _row(one: ComparedTable, row: str, bold: Callable[[str], str], separator: str) -> list[str]:
    cells = [_lines(one.cells.get((row, column)), bold, separator) for column in one.table.columns]
    for difference in one.table.differences:
        ours, published = _differences(one, row, difference)
        cells.append(ours + (f"{separator}({published})" if published != NONE else ""))
    return cells


def _differences(one: ComparedTable, row: str, difference: Difference) -> tuple[str, str]:
    """Return our difference of two means and the published one."""
    pair = [one.cells.get((row, column)) for column in (difference.column, difference.less)]
    ours = [cell.ours for cell in pair if cell is not None and cell.ours]
    published = [cell.cell.published for cell in pair if cell is not None and cell.cell.published]
    return _signed(ours), _signed(published)


def _signed(pair: Sequence[Spread]) -> str:
    return f"{pair[0][0] - pair[1][0]:+.1f}" if len(pair) == 2 else NONE


def _lines(value: ComparedCell | None, bold: Callable[[str], str], separator: str) -> str:
    """Return our number above the published one."""
    if value is None:
        return NONE
    ours = _bold(_own(value), value.best, bold)
    if value.cell.published is None:
        return ours
    return f"{ours}{separator}({_bold(_spread(value.cell.published), value.published_best, bold)})"


def _bold(text: str, is_best: bool, bold: Callable[[str], str]) -> str:
    return bold(text) if is_best else text


def _rich_bold(text: str) -> str:
    return f"[bold]{text}[/]"


def _spread(value: Spread | None, plus_minus: str = " ± ") -> str:
    if value is None:
        return NONE
    mean, std = value
    return f"{mean:.1f}" + (f"{plus_minus}{std:.1f}" if std is not None else "")


def _own(value: ComparedCell) -> str:
    """Return our mean with its interval, or with its standard deviation."""
    if value.ours is None or value.interval is None:
        return _spread(value.ours)
    low, high = value.interval
    return f"{value.ours[0]:.1f} [{low:.1f}, {high:.1f}]"


def _latex_table(tables: PaperTables, one: ComparedTable) -> str:
    columns, differences = list(one.table.columns), one.table.differences
    lines = [
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{_escaped(_caption(tables, one))}. {_escaped(rule([one]))}.}}",
        f"  \\label{{tab:{tables.name}-{tables.profile}-{one.table.name}}}",
        "  \\smallskip",
        f"  \\begin{{tabular}}{{l{'r' * len(_titles(one))}}}",
        "    \\toprule",
        "    & " + " & ".join(map(_escaped, _titles(one))) + " \\\\",
        "    \\midrule",
    ]
    for row, title in one.table.rows.items():
        values = [one.cells.get((row, column)) for column in columns]
        less = [_differences(one, row, difference) for difference in differences]
        ours = [_latex_own(v) if v else "--" for v in values] + [_latex_signed(own) for own, _ in less]
        lines.append(f"    {_escaped(title)} & {' & '.join(ours)} \\\\[-2pt]")
        if any(value is not None and value.cell.published for value in values):
            published = [*map(_latex_published, values), *(_latex_small(_latex_signed(theirs)) for _, theirs in less)]
            lines.append(f"    & {' & '.join(published)} \\\\[3pt]")
    return "\n".join([*lines, "    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""])


def _latex_published(value: ComparedCell | None) -> str:
    if value is None or value.cell.published is None:
        return ""
    return _latex_small(_latex_number(value.cell.published, value.published_best))


def _latex_small(text: str) -> str:
    return f"{{\\footnotesize ({text})}}"


def _latex_signed(text: str) -> str:
    return "--" if text == NONE else f"${text}$"


def _latex_own(value: ComparedCell) -> str:
    if value.ours is None or value.interval is None:
        return _latex_number(value.ours, value.best)
    low, high = value.interval
    return f"{_latex_number((value.ours[0], None), value.best)} [{low:.1f}, {high:.1f}]"


def _latex_number(value: Spread | None, best: bool) -> str:
    if value is None:
        return "--"
    number = f"{value[0]:.1f}"
    std = f" $\\pm$ {value[1]:.1f}" if value[1] is not None else ""
    return (f"\\textbf{{{number}}}" if best else number) + std


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in one_line(text))
