"""Reports of the cells of a searched table file, named as `raysl tune --cells` names them."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from raysl.errors import ResultsError, UserError
from raysl.reports import audit, class_report, grid, importance, loss_curves, loss_vs_lr, slices, tsne, umap
from raysl.reports.choosing import chosen
from raysl.reports.stages import Searched, read_selected
from raysl.results.records.paper_tables import Cell, ClassReport, PaperTable, PaperTables, write_paper_tables
from raysl.results.storage.store import Store

STAGES = {"t1/semi/clean": "a", "t1/semi/attacked": "b", "t1/only/clean": "a"}
WITHOUT = ("t1/only/attacked", "t1/semi/gone")
REPORTS = (audit, class_report, grid, importance, loss_curves, loss_vs_lr, slices, tsne, umap)
CONFIGS = [{"w": 0.1}, {"w": 0.2}]


@pytest.fixture
def folder(made: Callable[..., str]) -> str:
    """A results folder of two stages, which give three cells of five."""
    uri = made(*((name, CONFIGS, lambda params, seed: {"probe_accuracy": params["w"]}) for name in ("a", "b", "c")))
    cells = tuple(
        Cell(key, *key.split("/")[1:], None, "e.yaml", "", (), "s", "d")
        for key in (*STAGES, *WITHOUT)  # type: ignore[misc]
    )
    titles = {name: name for name in ("semi", "only")}, {name: name for name in ("clean", "attacked", "gone")}
    table = PaperTable("t1", "A table", *titles, cells)
    stages, reasons = STAGES | {"t1/semi/gone": "superseded"}, {"t1/only/attacked": "not in profile laptop"}
    store = Store.open(uri, create=False)
    write_paper_tables(store, PaperTables("paper", "laptop", "A & B", (table,), stages, reasons))
    return uri


def ids(folder: str, cells: str | None, stages: str | None = None) -> list[str]:
    return [stage.stage_id for stage in chosen(Namespace(results=[folder], cells=cells, stages=stages))]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (None, ["a", "b", "c"]),
        ("t1/semi/attacked", ["b"]),
        ("t1/semi/attacked,t1/semi/clean", ["b", "a"]),  # in the order in which they are named
        ("t1/*/clean", ["a"]),  # two cells of one stage
        ("t1/*", ["a", "b"]),
    ],
)
def test_cells_are_the_stages_that_give_them(folder: str, cells: str | None, expected: list[str]) -> None:
    assert ids(folder, cells) == expected


def test_cells_without_a_number_are_left_out_and_named(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids(folder, "t1/*")
    printed = capsys.readouterr().out
    assert "left out: t1/only/attacked: not in profile laptop\n" in printed
    assert "left out: t1/semi/gone: nothing is selected there\n" in printed
    with pytest.raises(ResultsError, match="t1/only/attacked: none of them has a selected config"):
        ids(folder, "t1/only/attacked")


def test_mistakes_are_refused_with_the_choices(folder: str, made: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--cells t1/semi/cleen: no such cell; did you mean 't1/semi/clean'\?"):
        ids(folder, "t1/semi/cleen")
    with pytest.raises(UserError, match="--stages is given too"):
        ids(folder, "t1/*", "a")
    (Path(folder) / "tables" / "paper@laptop.json").unlink()
    with pytest.raises(ResultsError, match="no table file was searched here"):
        ids(folder, "t1/*")


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.__name__)
def test_each_report_of_stages_takes_cells(folder: str, fails: Callable[..., str], report: ModuleType) -> None:
    assert "--cells t1/semi/cleen: no such cell" in fails(report.main, folder, "--cells", "t1/semi/cleen")


def test_a_report_is_of_the_cells_alone(folder: str, fails: Callable[..., str]) -> None:
    assert fails(grid.main, folder, "--cells", "t1/semi/attacked").startswith("error: swept/b: ")


def test_published_classes_stand_beside_ours_where_the_stage_gives_their_cell(results: str, tmp_path: Path) -> None:
    def report_of(stage: Searched, published: ClassReport | None) -> Any:
        return class_report.report(stage.selected, [stage.features(trial) for trial in stage.selected], published)

    stage = read_selected([results], "semi")[0]
    names = report_of(stage, None).class_names
    published = ClassReport("t1/semi/clean", "Table VII", 0.631, {names[0]: (0.25, 0.5, 1.0)})
    ours = class_report.table("title", [("semi", report_of(stage, None))])
    both = class_report.table("title", [("semi", report_of(stage, published))])
    brackets = ("(0.25)", "(0.50)", "(1.00)")
    assert both.rows[0] == (names[0], *(f"{own} {end}" for own, end in zip(ours.rows[0][1:], brackets, strict=True)))
    assert both.rows[1:-1] == ours.rows[1:-1]
    assert both.rows[-1][2] == f"{ours.rows[-1][2]} (0.631)"
    assert "In brackets: published, Table VII." in both.notes
    assert not any("brackets" in note for note in ours.notes)
    assert np.array_equal(report_of(stage, published).values, report_of(stage, None).values)


def test_a_report_finds_what_is_published_of_its_cell(changed: Path, run: Callable[..., tuple[str, str]]) -> None:
    stage = read_selected([str(changed)], "semi")[0]
    cell = Cell("t1/semi/clean", "semi", "clean", None, "e.yaml", "", (), "semi", "d")
    table = PaperTable("t1", "A table", {"semi": "Semi"}, {"clean": "Clean"}, (cell,))
    classes = dict.fromkeys(stage.features(stage.selected[0]).class_names, (0.12, 0.34, 0.56))
    published = (ClassReport(cell.key, "Table VII", 0.631, classes),)
    paper = PaperTables("paper", "", "A & B", (table,), {cell.key: stage.stage_id}, {}, published)
    write_paper_tables(Store.open(str(changed), create=False), paper)
    printed, _ = run(class_report.main, changed, "--cells", "t1/semi/clean")
    assert printed.count("(0.34)") == len(classes)
    assert "(0.631)" in printed
    printed, _ = run(class_report.main, changed, "--stages", "finetune")
    assert "(0.34)" not in printed
