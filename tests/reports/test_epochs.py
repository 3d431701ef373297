"""A table file's columns become an axis; lines are its rows, and baselines are level."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from raysl.errors import UserError
from raysl.reports import epochs, figures, importance, slices
from raysl.reports.epochs import is_level, numbers, read_compared
from raysl.results.records.paper_tables import Cell, PaperTable, PaperTables, write_paper_tables
from raysl.results.storage.store import Store
from raysl.results.tables.comparison import ComparedTable

Made = Callable[..., str]
Run = Callable[..., tuple[str, str]]
ACCURACIES = {"sidae25": 0.4, "sidae100": 0.6, "supervised": 0.3}
ROWS = {"sidae": "SidAE", "supervised": "Supervised", "simsiam": "SimSiam"}


def cell(row: str, column: str, *, published: Any = None, overrides: tuple[str, ...] = ()) -> Cell:
    return Cell(f"figure/{row}/{column}", row, column, published, f"{row}.yaml", "", overrides, "linear", "")


def by_epoch(row: str, column: str, **options: Any) -> Cell:
    return cell(row, column, overrides=(f"start_epoch={column}",), **options)


FIGURE = PaperTable(
    "figure",
    "CIFAR-10, 1 % of labels",
    ROWS,
    {"e100": "100", "e25": "25", "e50": "50"},  # not in their order
    (
        by_epoch("sidae", "e100", published=(51.67, 0.28)),
        by_epoch("sidae", "e25"),
        by_epoch("sidae", "e50"),
        cell("supervised", "e25"),
        by_epoch("simsiam", "e25"),
        by_epoch("simsiam", "e50"),
    ),
)
STAGES = {"figure/sidae/e100": "sidae100", "figure/sidae/e25": "sidae25", "figure/supervised/e25": "supervised"}
WORDS = PaperTable("table", "A table", ROWS, {"a": "STL-10", "b": "25"}, (cell("sidae", "a"),))
PAPER = PaperTables("paper", "laptop", "Somebody 2024", (FIGURE, WORDS), STAGES, {})


@pytest.fixture
def results(made: Made) -> str:
    """A folder of three stages of four seeds, and a table file that they are cells of."""

    def outcome(name: str) -> Callable[[Any, int], dict[str, Any]]:
        return lambda params, seed: {"test_accuracy": ACCURACIES[name] + 0.01 * seed}

    uri = made(*((name, [{}], outcome(name)) for name in ACCURACIES), num_seeds=4)
    write_paper_tables(Store.open(uri, create=False), PAPER)
    return uri


def compared(uri: str, table: PaperTable = FIGURE, stages: dict[str, str] = STAGES) -> ComparedTable:
    write_paper_tables(Store.open(uri, create=False), replace(PAPER, tables=(table,), stages=stages))
    [(_, one)] = read_compared([uri], None)
    return one


def panel_of(one: ComparedTable) -> tuple[Figure, Axes]:
    figure = epochs.draw(["title"], [one], "note", "epochs")
    [panel] = [axes for part in figure.subfigs for axes in part.axes]
    return figure, panel


def test_columns_are_numbers_or_the_table_is_no_figure(results: str) -> None:
    figure, words = (one for _, one in read_compared([results], None))
    assert numbers(figure) == {"e100": 100.0, "e25": 25.0, "e50": 50.0}
    assert numbers(words) is None
    columns = {"a": "nan", "b": "25"}
    assert numbers(compared(results, replace(WORDS, columns=columns))) is None


def test_lines_are_means_with_standard_errors_by_rising_epoch(results: str) -> None:
    _, panel = panel_of(compared(results))
    sidae = next(own for own in panel.containers if isinstance(own, ErrorbarContainer))
    points, _, (bar,) = sidae
    assert [tuple(point) for point in points.get_xydata()] == [
        (25.0, pytest.approx(41.5)),
        (100.0, pytest.approx(61.5)),
    ]
    std_error = 100 * 0.0129099445 / 2  # of four seeds
    assert [high - low for (_, low), (_, high) in bar.get_segments()] == pytest.approx([2 * std_error] * 2)
    low, high = panel.get_xlim()
    assert low < 25 < 100 < high
    assert sorted(panel.get_xticks()) == [25, 50, 100]


def test_panels_without_published_numbers_have_room(results: str, tmp_path: Path) -> None:
    """Matplotlib warns where they have none, and warnings of that kind fail a test. Near 100 %, no mark is clipped."""
    one = compared(results, replace(FIGURE, cells=tuple(replace(cell, published=None) for cell in FIGURE.cells)))
    high, low = (99.9, 0.1), (20.0, 0.1)
    ours = {place: high if place == ("sidae", "e100") else cell.ours and low for place, cell in one.cells.items()}
    one = replace(one, cells={place: replace(cell, ours=ours[place]) for place, cell in one.cells.items()})
    for name in ("png", "svg"):
        figures.save_as(epochs.draw(["one", "other"], [one, one], epochs.NOTE, "epochs"), tmp_path / f"a.{name}")


def test_a_row_of_one_number_is_level(results: str) -> None:
    one = compared(results)
    assert [row for row in ROWS if is_level(one, row)] == ["supervised"]
    figure, panel = panel_of(one)
    level = next(line for line in panel.lines if list(line.get_xdata()) == [0, 1])  # over the whole width
    assert list(level.get_ydata()) == pytest.approx([31.5, 31.5])
    [legend] = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["SidAE", "Supervised"]  # SimSiam has no number


def test_a_row_of_the_same_stage_in_all_columns_is_level_and_one_half_searched_is_not(results: str) -> None:
    cells = tuple(by_epoch(row, column) for row in ("sidae", "supervised") for column in FIGURE.columns)
    stages = {f"figure/supervised/{column}": "supervised" for column in FIGURE.columns}
    one = compared(results, replace(FIGURE, cells=cells), {**stages, "figure/sidae/e25": "sidae25"})
    assert [row for row in ROWS if is_level(one, row)] == ["supervised"]


def test_the_probe_and_the_test_of_a_stage_are_two_numbers(results: str) -> None:
    cells = tuple(
        replace(by_epoch("supervised", column), value=kind) for column, kind in (("e25", "probe"), ("e50", "test"))
    )
    stages = {cell.key: "supervised" for cell in cells}
    one = compared(results, replace(FIGURE, cells=cells), stages)
    assert not is_level(one, "supervised")
    assert panel_of(one)[1].get_ylabel() == "accuracy (%)"
    assert panel_of(compared(results))[1].get_ylabel() == "test accuracy (%)"


def test_in_a_table_of_one_column_nothing_is_level(results: str) -> None:
    one = compared(results, replace(FIGURE, columns={"e25": "25"}, cells=FIGURE.cells[1:2]))
    assert not is_level(one, "sidae")
    assert len(panel_of(one)[1].containers) == 1


def test_published_numbers_are_open_marks_at_their_column(results: str) -> None:
    _, panel = panel_of(compared(results))
    [published] = [line for line in panel.lines if line.get_markerfacecolor() == "none" and len(line.get_xdata())]
    assert [tuple(point) for point in published.get_xydata()] == [(100.0, 51.67)]


def test_the_report_draws_what_there_is_and_says_what_is_missing(results: str, run: Run, tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        printed, said = run(epochs.main, results)
        paths = [tmp_path / "out" / f"epochs.{form}" for form in ("png", "svg")]
        assert all(f"wrote {path}" in said for path in paths)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert "left out: table, whose columns are no numbers: STL-10, 25" in printed
    missing = "figure/sidae/e50, figure/simsiam/e25, figure/simsiam/e50"
    assert f"missing, not searched yet (3): {missing}" in printed


def test_mistakes_are_one_message(results: str, made: Made, fails: Callable[..., str], tmp_path: Path) -> None:
    assert "--tables figur: no such table; did you mean 'figure'?" in fails(epochs.main, results, "--tables", "figur")
    assert "no table has numbers for columns" in fails(epochs.main, results, "--tables", "table")
    write_paper_tables(Store.open(results, create=False), replace(PAPER, stages={}))
    assert "no cell has a number yet: not searched yet" in fails(epochs.main, results)
    for record in (Path(results) / "tables").iterdir():
        record.unlink()
    assert "no table file was searched here" in fails(epochs.main, results)


@pytest.mark.parametrize("name", ["slices", "importance"])
def test_figures_of_searches_are_whole_and_come_out_the_same(made: Made, run: Run, tmp_path: Path, name: str) -> None:
    configs = [{"w": w, "kind": kind} for w in (0.0, 0.5, 1.0) for kind in "ab"]
    uri = made(("sidae", configs, lambda params, seed: {"probe_accuracy": 0.5 + 0.1 * params["w"] + 0.01 * seed}))
    contents = []
    for _ in range(2):
        run({"slices": slices, "importance": importance}[name].main, uri)
        contents.append([(tmp_path / "out" / f"{name}.{form}").read_bytes() for form in ("png", "svg")])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"\x89PNG")
    assert ET.fromstring(contents[0][1]).tag == "{http://www.w3.org/2000/svg}svg"


def test_cells_are_drawn_alone(results: str, fails: Callable[..., str]) -> None:
    [(_, one)] = read_compared([results], None, "figure/sidae/e100,figure/supervised/*")
    assert {cell.cell.key for cell in one.cells.values()} == {"figure/sidae/e100", "figure/supervised/e25"}
    assert "no such cell" in fails(epochs.main, results, "--cells", "figure/nothing/*")


def test_a_folder_has_one_figure_of_its_tables(results: str) -> None:
    figure = epochs.draw_folder(results)
    assert len(figure.subfigs[0].axes) == 1  # the other table's columns are words
    with pytest.raises(UserError, match="no table has numbers for columns"):
        epochs.draw_folder(results, "figure/sidae/a")
