"""Names of many cells: whole tables, columns and rows, and nothing that is not missing."""

from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product

import pytest

from raysl.results.records.paper_tables import Cell, PaperTable
from raysl.results.tables.cell_patterns import cell_patterns, probe_note, shortened
from raysl.results.tables.comparison import ComparedCell, ComparedTable

ROWS, COLUMNS = "abc", "xyz"


def table(name: str, without: tuple[str, ...] = ()) -> ComparedTable:
    keys = {f"{name}/{row}/{column}": (row, column) for row, column in product(ROWS, COLUMNS)}
    own = {at: Cell(key, *at, None, "e.yaml", "", (), "s", "") for key, at in keys.items() if key not in without}
    cells = {at: ComparedCell(cell, None, False, False, None, None, (), 0, 0, "") for at, cell in own.items()}
    titles = {axis: dict(zip(axis, axis, strict=True)) for axis in (ROWS, COLUMNS)}
    return ComparedTable(PaperTable(name, name, titles[ROWS], titles[COLUMNS], tuple(own.values())), cells)


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


def test_a_table_of_which_some_cells_are_shown_is_not_whole() -> None:
    keys = [f"t/{row}/{column}" for row, column in product("ab", COLUMNS)]
    shown = replace(T, cells={at: cell for at, cell in T.cells.items() if cell.cell.key in keys})
    assert cell_patterns(keys, [shown]) == ["t/a/*", "t/b/*"]


def test_cells_of_the_probe_are_named_where_they_have_a_number() -> None:
    cells = {
        at: replace(cell, ours=(1.0, None), cell=replace(cell.cell, value="probe" if at[1] == "y" else "test"))
        for at, cell in T.cells.items()
    }
    assert probe_note([T, U]) == ""
    assert probe_note([replace(T, cells=cells)]).endswith(": t/a/y, t/b/y, t/c/y")
    assert probe_note([replace(T, cells=cells | {("a", "y"): T.cells["a", "y"]})]).endswith(": t/b/y, t/c/y")


def test_the_first_few_names_and_how_many_more() -> None:
    diagonal = ["t/a/x", "t/b/y", "t/c/z", "u/a/y", "u/b/z", "u/c/x"]
    assert shortened(diagonal, [T, U]) == [*diagonal[:3], "and 3 more cells"]
    assert shortened([*diagonal, "t/b/x", "t/c/x"], [T, U]) == ["t/*/x", "t/b/y", "t/c/z", "and 3 more cells"]
    assert shortened(diagonal[:4], [T, U]) == diagonal[:4]
