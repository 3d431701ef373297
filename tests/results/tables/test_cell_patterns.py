"""Names of many cells: whole tables, columns and rows, and nothing that is not missing."""

from fnmatch import fnmatchcase
from itertools import product

import pytest

from raysl.results.records.paper_tables import Cell, PaperTable
from raysl.results.tables.cell_patterns import cell_patterns, shortened
from raysl.results.tables.comparison import ComparedCell, ComparedTable

ROWS, COLUMNS = "abc", "xyz"


def table(name: str, without: tuple[str, ...] = ()) -> ComparedTable:
    cells = {}
    for row, column in product(ROWS, COLUMNS):
        if (key := f"{name}/{row}/{column}") not in without:
            cell = Cell(key, row, column, None, "e.yaml", "", (), "s", "")
            cells[row, column] = ComparedCell(cell, None, False, False, None, None, (), 0, 0, "")
    titles = {axis: dict(zip(axis, axis, strict=True)) for axis in (ROWS, COLUMNS)}
    return ComparedTable(PaperTable(name, name, titles[ROWS], titles[COLUMNS], ()), cells)


T, U = table("t"), table("u", ("u/a/x", "u/b/x"))
ALL = [value.cell.key for one in (T, U) for value in one.cells.values()]
CASES = {
    "few": (["t/a/x", "t/b/x", "t/c/x"], ["t/a/x", "t/b/x", "t/c/x"]),
    "a table": ([key for key in ALL if key[0] == "t"], ["t/*"]),
    "both": (ALL, ["t/*", "u/*"]),
    "columns": ([key for key in ALL if key[0] == "t" and key[-1] in "yz"], ["t/*/y", "t/*/z"]),
    "a row, and others": (["t/a/x", "t/a/y", "t/a/z", "t/b/x", "u/c/z"], ["t/a/*", "t/b/x", "u/c/z"]),
    "a column of one cell": (["u/c/x", "t/a/x", "t/b/x", "t/c/x", "u/a/y"], ["t/*/x", "u/c/x", "u/a/y"]),
    "a row of a column that is named": (["t/a/x", "t/b/x", "t/c/x", "t/a/y", "t/a/z"], ["t/*/x", "t/a/y", "t/a/z"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_names_are_of_these_cells_and_no_others(kind: str) -> None:
    keys, expected = CASES[kind]
    names = cell_patterns(keys, [T, U])
    assert sorted(names) == sorted(expected)
    assert {key for key in ALL if any(fnmatchcase(key, name) for name in names)} == set(keys)


def test_the_first_few_names_and_how_many_more() -> None:
    diagonal = ["t/a/x", "t/b/y", "t/c/z", "u/a/y", "u/b/z", "u/c/x"]
    assert shortened(diagonal, [T, U]) == [*diagonal[:3], "and 3 more"]
    assert shortened(diagonal[:4], [T, U]) == diagonal[:4]
