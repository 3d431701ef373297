"""Tables for reading: as text, in Markdown, or in LaTeX with booktabs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

Cells = tuple[str, ...]
NARROW = 5  # columns that one column of a two-column page has room for
GAP = 2  # spaces between columns of text

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
}


@dataclass(frozen=True)
class Table:
    """Cells to print.

    groups: names above the header, each with its number of columns, beginning after the first column.
    num_summary: rows at the end that are set apart.  notes: sentences below.
    """

    title: str
    header: Cells
    rows: tuple[Cells, ...]
    groups: tuple[tuple[str, int], ...] = ()
    num_summary: int = 0
    notes: tuple[str, ...] = ()


def text(table: Table) -> str:
    """Return a table in columns of even width."""
    widths = [max(len(row[place]) for row in (table.header, *table.rows)) for place in range(len(table.header))]
    groups = [_group_line(table.groups, widths)] if table.groups else []
    rule = (" " * GAP).join("-" * width for width in widths)
    lines = [_aligned(row, widths) for row in table.rows]
    if table.num_summary:
        lines.insert(len(lines) - table.num_summary, rule)
    return "\n".join([table.title, "", *groups, _aligned(table.header, widths), rule, *lines, *_apart(table.notes)])


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    header = _with_groups(table) if table.groups else table.header
    marks = ["---", *["---:"] * (len(header) - 1)]
    lines = [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (header, marks, *table.rows)
    ]
    return "\n".join([f"### {table.title}", "", *lines, *_apart(table.notes)])


def latex(table: Table) -> str:
    """Return a table in LaTeX; the document loads booktabs."""
    body, apart = _latex_rows(table.rows), len(table.rows) - table.num_summary
    float_ = "table" if len(table.header) <= NARROW else "table*"
    summary = [r"\midrule", *body[apart:]] if table.num_summary else []
    lines = [
        rf"\begin{{{float_}}}",
        r"\centering",
        rf"\caption{{{escaped(' '.join((f'{table.title}.', *table.notes)))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        *(_latex_groups(table.groups) if table.groups else []),
        *_latex_rows([table.header]),
        r"\midrule",
        *body[:apart],
        *summary,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{float_}}}",
    ]
    return "\n".join(lines)


def escaped(words: str) -> str:
    """Return words as LaTeX prints them."""
    return "".join(_LATEX.get(character, character) for character in words)


FORMATS: dict[str, tuple[Callable[[Table], str], str]] = {
    "text": (text, "txt"),
    "markdown": (markdown, "md"),
    "latex": (latex, "tex"),
}


def save(content: str, folder: Path, name: str, form: str) -> Path:
    """Write what a format gave to a file that is named for it, and return its path."""
    path = folder / f"{name}.{FORMATS[form][1]}"
    path.write_text(f"{content}\n", encoding="utf-8")
    return path


def _with_groups(table: Table) -> Cells:
    names = [name for name, width in table.groups for _ in range(width)]
    return table.header[0], *(f"{name}: {column}" for name, column in zip(names, table.header[1:], strict=True))


def _group_line(groups: Sequence[tuple[str, int]], widths: list[int]) -> str:
    """Return the line above the header; a name that is too long for its columns widens the last of them."""
    line, end = " " * widths[0], 1
    for name, width in groups:
        start, end = end, end + width
        room = sum(widths[start:end]) + GAP * (width - 1)
        widths[end - 1] += max(0, len(name) - room)
        line += " " * GAP + name.center(max(room, len(name)))
    return line.rstrip()


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return (" " * GAP).join(cells).rstrip()


def _apart(notes: Sequence[str]) -> list[str]:
    return ["", *notes] if notes else []


def _latex_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    return [" & ".join(map(escaped, row)) + r" \\" for row in rows]


def _latex_groups(groups: Sequence[tuple[str, int]]) -> list[str]:
    ends = list(accumulate((width for _, width in groups), initial=1))
    names = [rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}" for name, width in groups]
    rules = [rf"\cmidrule(lr){{{start + 1}-{end}}}" for start, end in pairwise(ends)]
    return [" & ".join(["", *names]) + r" \\", "".join(rules)]
