"""A table says the same as text, in Markdown and in LaTeX."""

from raysl.reports.tables import Table, latex, markdown, text

TABLE = Table(
    title="50% of_it",
    header=("class", "a", "b", "a", "b"),
    rows=(("x|y", "1", "2", "3", "4"), ("mean ± std", "5 ± 1", "6", "7", "8")),
    groups=(("a long name of two columns", 2), ("other", 2)),
    num_summary=1,
    notes=("A note.",),
)


def test_text_is_in_columns_below_their_groups() -> None:
    lines = text(TABLE).split("\n")
    assert lines[0] == "50% of_it"
    assert len({len(line) for line in lines[3:7]}) == 1  # header, rules and rows end together
    start, end = lines[2].index("a long name"), lines[2].index("a long name") + len("a long name of two columns")
    assert lines[5][start:end].split() == ["1", "2"]
    assert lines[6] == lines[4]
    assert lines[7].split() == ["mean", "±", "std", "5", "±", "1", "6", "7", "8"]
    assert lines[-1] == "A note."


def test_markdown_names_the_group_in_each_column() -> None:
    lines = markdown(TABLE).split("\n")
    assert lines[2] == (
        "| class | a long name of two columns: a | a long name of two columns: b | other: a | other: b |"
    )
    assert lines[4] == "| x\\|y | 1 | 2 | 3 | 4 |"
    assert {line.replace("\\|", "").count("|") for line in lines[2:6]} == {6}


def test_latex_is_escaped_and_ruled() -> None:
    lines = latex(TABLE).split("\n")
    assert r"\caption{50\% of\_it. A note.}" in lines
    assert r"\begin{tabular}{lrrrr}" in lines
    assert r" & \multicolumn{2}{c}{a long name of two columns} & \multicolumn{2}{c}{other} \\" in lines
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}" in lines
    assert lines[lines.index(r"mean $\pm$ std & 5 $\pm$ 1 & 6 & 7 & 8 \\") - 1] == r"\midrule"
    assert [line for line in lines if "rule" in line and "cmid" not in line] == [
        r"\toprule", r"\midrule", r"\midrule", r"\bottomrule",
    ]  # fmt: skip
