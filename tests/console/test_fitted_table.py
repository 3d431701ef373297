"""Tables fit the screen: at each width, every cell is there, whole."""

import io
import random
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from raysl.console.fitted_table import Column, print_table

COLUMNS = [
    Column("config", left=True, key=True),
    Column("lr"),
    Column("seeds"),
    Column("final loss"),
    Column("probe accuracy %"),
    Column("test accuracy %"),
    Column("s/trial", spare=True),
]
ROWS = [
    ["74bad906", "0.001", "3/3", "0.06122 ± 0.01344", "100.0 ± 0.0", "74.7 ± 0.9", "11.3"],
    ["849ff238", "0.01", "12/13", "0.1872 ± 0.02164", "96.9 ± 0.3", "-", "1234.5"],
]


def printed(width: int, columns: list[Column], rows: list[list[str | Text]]) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, "a title", columns, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tables(text: str) -> int:
    return text.count("┏")


@pytest.mark.parametrize(("width", "number"), [(160, 1), (100, 1), (80, 1), (60, 2), (40, 4), (32, 5)])
def test_no_cell_is_cut_at_any_width(width: int, number: int) -> None:
    rows: list[list[str | Text]] = [list(row) for row in ROWS]
    text = printed(width, COLUMNS, rows)
    assert max(map(cell_len, text.splitlines())) <= width
    assert tables(text) == number
    assert "…" not in text
    kept = [cell for row in ROWS for cell in (row if number > 1 or width > 80 else row[:-1])]
    assert all(re.search(rf"(^|│) *{re.escape(cell)} *│", text, re.MULTILINE) for cell in kept)
    assert text.count("74bad906") == number
    assert text.count("a title") == 1


def test_spare_columns_go_before_the_table_is_parted() -> None:
    rows: list[list[str | Text]] = [list(row) for row in ROWS]
    widths = [width for width in range(30, 120) if tables(printed(width, COLUMNS, rows)) == 1]
    assert widths == list(range(widths[0], 120))
    assert "s/trial" not in printed(widths[0], COLUMNS, rows)
    assert "1234.5" in printed(widths[-1], COLUMNS, rows)


def test_a_cell_wider_than_the_screen_is_folded() -> None:
    text = printed(30, [Column("name", key=True), Column("value", left=True)], [["a", "0123456789" * 5]])
    assert "".join(re.findall(r"\d", text)) == "0123456789" * 5


def test_lines_and_styles_of_a_cell_stay() -> None:
    text = printed(80, [Column("", key=True), Column("value")], [["row", Text.from_markup("[bold]1.0[/]\n(2.0)")]])
    assert re.search(r"│ +1\.0 │\n│ +│ \(2\.0\) │", text)


def test_random_tables_fit() -> None:
    draw = random.Random(0)
    for _ in range(100):
        number = draw.randint(1, 9)
        columns = [Column("key", key=True), *(Column("x y " * draw.randint(1, 3)) for _ in range(number))]
        rows: list[list[str | Text]] = [["k", *("9" * draw.randint(1, 20) for _ in range(number))] for _ in range(3)]
        width = draw.randint(40, 120)
        text = printed(width, columns, rows)
        assert max(map(cell_len, text.splitlines())) <= width
        found = re.findall(r"9+", text)
        assert sorted(found) == sorted(str(cell) for row in rows for cell in row[1:])
