"""Short names of many cells of a paper's tables."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from raysl.results.tables.comparison import ComparedTable

_FEW = 4  # cells that are named one by one


def cell_patterns(keys: Iterable[str], tables: Sequence[ComparedTable]) -> list[str]:
    """Return names of cells, with one name for a table, column or row that is whole; few cells stay as they are.

    keys: TABLE/ROW/COLUMN.  The names are such as `--cells` takes: `t/*` is a table, `t/*/c` a column, `t/r/*` a row.
    """
    left = dict.fromkeys(keys)
    if len(left) <= _FEW:
        return list(left)
    found = []
    for pattern, whole in _groups(tables).items():
        if len(whole) > 1 and whole <= left.keys():
            found.append(pattern)
            left = {key: None for key in left if key not in whole}
    return [*found, *left]


def shortened(keys: Iterable[str], tables: Sequence[ComparedTable]) -> list[str]:
    """Return names of cells as `cell_patterns` does, but only the first few, and how many more cells there are."""
    keys = list(keys)
    names = cell_patterns(keys, tables)
    if len(names) <= _FEW:
        return names
    first = names[: _FEW - 1]
    more = sum(not any(fnmatchcase(key, name) for name in first) for key in keys)
    return [*first, f"and {more} more cells"]


def probe_note(tables: Sequence[ComparedTable]) -> str:
    """Return a note on the cells whose number is that of the probe; empty if there are none."""
    keys = [value.cell.key for one in tables for value in one.cells.values() if value.ours and value.cell.of_probe]
    names = ", ".join(cell_patterns(keys, tables))
    return f"measured by the probe on labelled training images, and not on test images: {names}" if keys else ""


def _groups(tables: Sequence[ComparedTable]) -> dict[str, set[str]]:
    """Return the cells of each table, then of each column, then of each row, by their pattern."""
    cells = [(one.table.name, cell) for one in tables for cell in one.table.cells]
    found: dict[str, set[str]] = {}
    for pattern in ("{0}/*", "{0}/*/{1.column}", "{0}/{1.row}/*"):
        for table, cell in cells:
            found.setdefault(pattern.format(table, cell), set()).add(cell.key)
    return found
