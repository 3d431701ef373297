"""How a paper's tables are written: ours above the published numbers, the best in bold, missing cells named."""

import io
from dataclasses import replace

from rich.console import Console

from raysl.console.paper_table import latex, markdown, show_text
from raysl.results.records.paper_tables import Cell, Difference, PaperTable, PaperTables
from raysl.results.tables.comparison import ComparedCell, ComparedTable

CELL = Cell("t1/semi/attacked", "semi", "attacked", (78.25, 0.7), "e.yaml", "", (), "semi", "d")
TABLE = PaperTable("t1", "1 % of labels & more", {"semi": "Semi", "only": "Only"}, {"attacked": "Set_1*"}, (CELL,))
PAPER = PaperTables("paper", "laptop", "A & B 2020", (TABLE,), {}, {})


def compared(value: ComparedCell) -> list[ComparedTable]:
    return [ComparedTable(TABLE, {("semi", "attacked"): value})]


VALUE = ComparedCell(CELL, (81.44, 1.26), True, False, "s0", "c0", ("t0",), 3, 3, "")
FULL = compared(VALUE)
MISSING = compared(replace(VALUE, ours=None, best=False, missing="not trained yet"))


def text(values: list[ComparedTable]) -> str:
    console = Console(file=io.StringIO(), width=100)
    show_text(PAPER, values, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_our_number_stands_above_the_published_one() -> None:
    lines = text(FULL).splitlines()
    [ours] = [index for index, line in enumerate(lines) if "81.4 ± 1.3" in line]
    assert "Semi" in lines[ours]
    assert "(78.2 ± 0.7)" in lines[ours + 1]
    assert any("Only" in line and "–" in line for line in lines)  # the paper has no such cell


def test_an_interval_stands_in_place_of_the_deviation() -> None:
    [one] = compared(replace(VALUE, interval=(78.34, 84.5)))
    both = [replace(one, intervals="t")]
    assert "81.4 [78.3, 84.5]" in text(both)
    assert "81.4 ± 1.3" not in text(both)
    assert "| Semi | **81.4 [78.3, 84.5]**<br>(78.2 ± 0.7) |" in markdown(PAPER, both)
    assert "Semi & \\textbf{81.4} [78.3, 84.5] \\\\" in latex(PAPER, both)
    for written in (text(both), markdown(PAPER, both)):
        assert "ours: means and 95 % t intervals over the seeds" in " ".join(written.split())


def test_a_missing_cell_is_named_with_its_reason() -> None:
    for written in (text(MISSING), markdown(PAPER, MISSING)):
        assert "missing, not trained yet (1): t1/semi/attacked" in written
    assert "missing" not in text(FULL)


def test_tables_outside_the_profile_are_named_and_no_more() -> None:
    more = replace(PAPER, tables=(TABLE, replace(TABLE, name="t2", cells=(replace(CELL, digest=""),))))
    for written in (markdown(more, FULL), latex(more, FULL)):
        assert "left out, not in profile laptop (1): t2\n" in written
    assert "left out" not in markdown(PAPER, FULL)


def test_a_cell_that_was_chosen_from_a_part_of_its_grid_is_named() -> None:
    partly = compared(replace(VALUE, num_eligible=2))
    assert "chosen from 2 of 3 configs, others are not eligible (1): t1/semi/attacked" in text(partly)
    assert "chosen from" not in text(FULL)


def test_a_number_of_the_probe_is_said_to_be_one() -> None:
    of_probe = compared(replace(VALUE, cell=replace(CELL, value="probe")))
    said = "measured by the probe on labelled training images, and not on test images: t1/semi/attacked"
    for kind in (None, "t"):
        shown = [replace(one, intervals=kind) for one in of_probe]
        for written in (text(shown), markdown(PAPER, shown)):
            assert said in " ".join(written.split())
    [caption] = [line for line in latex(PAPER, of_probe).splitlines() if "caption" in line]
    assert said in caption
    assert "probe" not in text(FULL)


def test_markdown_has_a_cell_for_each_column_of_each_row() -> None:
    lines = [line for line in markdown(PAPER, FULL).splitlines() if line.startswith("|")]
    assert lines[0] == "|  | Set_1* |"
    assert lines[2] == "| Semi | **81.4 ± 1.3**<br>(78.2 ± 0.7) |"
    assert {line.count("|") for line in lines} == {3}
    assert "| – |" in lines[3]
    barred = replace(TABLE, rows={"semi": "a|b"})
    assert "| a\\|b | " in markdown(PAPER, [ComparedTable(barred, FULL[0].cells)])


def test_latex_escapes_what_tex_would_read_otherwise_and_bolds_the_mean() -> None:
    written = latex(PAPER, FULL)
    assert "\\textbf{81.4} $\\pm$ 1.3" in written
    assert "{\\footnotesize (78.2 $\\pm$ 0.7)}" in written
    assert "1 \\% of labels \\& more (A \\& B 2020" in written
    assert "Set\\_1*" in written
    odd = replace(TABLE, rows={"semi": "\\ ^ ~ {"})
    assert "\\textbackslash{} \\textasciicircum{} \\textasciitilde{} \\{" in latex(PAPER, [ComparedTable(odd, {})])
    body = written[written.index("\\midrule") : written.index("\\bottomrule")].splitlines()[1:-1]
    assert all("\\\\[" in line and line.count("&") == 1 for line in body)
    assert latex(PAPER, MISSING).startswith("% missing, not trained yet (1): t1/semi/attacked\n")


def test_differences_are_of_our_numbers_and_of_the_published_ones() -> None:
    columns = {"attacked": "Attacked", "clean": "Clean"}
    table = replace(TABLE, columns=columns, differences=(Difference("Δ", "clean", "attacked"),))
    clean = replace(VALUE, cell=replace(CELL, column="clean", published=(80.0, 0.1)), ours=(80.1, None))
    cells = {("semi", "attacked"): VALUE, ("semi", "clean"): clean}
    both = [ComparedTable(table, cells)]
    lines = [line for line in markdown(PAPER, both).splitlines() if line.startswith("|")]
    assert lines[0] == "|  | Attacked | Clean | Δ |"
    assert lines[2].endswith(" | -1.3<br>(+1.8) |")
    assert lines[3].endswith(" | – | – | – |")
    assert "-1.3" in text(both)
    assert "(+1.8)" in text(both)
    written = latex(PAPER, both)
    assert r"$\Delta$ \\" in written
    assert r"& $-1.3$ \\[-2pt]" in written
    assert r"{\footnotesize ($+1.8$)} \\[3pt]" in written
    missing = {("semi", "attacked"): VALUE, ("semi", "clean"): replace(clean, ours=None)}
    assert markdown(PAPER, [ComparedTable(table, missing)]).count("–<br>(+1.8)") == 1
