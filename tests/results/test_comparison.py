"""A paper's tables beside our numbers: what is bold, what is missing, and what each cell is the mean of."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from raysl.results.comparison import ComparedCell, best_of, compare, long_form
from raysl.results.paper_tables import Cell, PaperTable, PaperTables, read_paper_tables, write_paper_tables
from raysl.results.rows import Score, TrialRow
from raysl.results.stages import SelectionRecord, StageRecord
from raysl.results.store import Store
from raysl.results.tables import Tables, build

Make = Callable[..., Any]


def cell(column: str, stage_id: str | None, missing: str = "", row: str = "ours") -> Cell:
    return Cell(row, column, (50.0, 1.5), "e.yaml", "laptop", ("seeds=2",), "semi", stage_id, missing)


PAPER = PaperTables(
    name="paper",
    profile="laptop",
    source="Somebody 2020",
    tables=(
        PaperTable(
            "table1",
            "A table",
            {"ours": "Ours", "theirs": "Theirs"},
            {"a": "A", "b": "B"},
            (cell("a", "s0"), cell("b", None, "not in profile laptop"), cell("a", "s1", row="theirs")),
        ),
    ),
)


@pytest.fixture
def results(make_stage: Make, make_row: Make, make_selection: Make) -> Callable[..., Tables]:
    """Return the tables of two stages: c0 of the first is selected, nothing of the second."""

    def make(accuracies: dict[str, float]) -> Tables:
        stages: list[StageRecord] = [make_stage(), make_stage(stage_id="s1", stage="other")]
        rows: dict[str, TrialRow] = {f"t{i}": make_row(trial_id=f"t{i}") for i in range(4)}
        scores = {trial_id: Score(trial_id, value, 100, "{}") for trial_id, value in accuracies.items()}
        nothing: dict[str, Any] = {"config_id": None, "trial_ids": (), "reason": "no config is eligible"}
        selections: dict[str, SelectionRecord] = {
            "s0": make_selection(stage_id="s0", config_id="c0", trial_ids=("t0", "t1")),
            "s1": make_selection(stage_id="s1", **nothing),
        }
        return build(stages, rows, scores, [], selections)

    return make


def compared(tables: Tables) -> dict[tuple[str, str], ComparedCell]:
    [one] = compare(PAPER, tables)
    return dict(one.cells)


def test_a_cell_is_the_mean_of_the_selected_trials_alone(results: Callable[..., Tables]) -> None:
    values = compared(results({"t0": 0.5, "t1": 0.75, "t2": 0.9, "t3": 0.9}))
    assert values["ours", "a"].ours == (62.5, pytest.approx(statistics.stdev([50, 75])))
    assert values["ours", "a"].trial_ids == ("t0", "t1")
    assert values["ours", "a"].best
    assert values["theirs", "a"].published_best  # equal published numbers are equally good


def test_a_seed_without_a_score_is_never_averaged_away(results: Callable[..., Tables]) -> None:
    value = compared(results({"t0": 0.5}))["ours", "a"]
    assert (value.ours, value.missing, value.best) == (None, "not scored on the test set yet", False)


def test_every_missing_cell_says_why(results: Callable[..., Tables]) -> None:
    values = compared(results({"t0": 0.5, "t1": 0.75}))
    assert values["ours", "b"].missing == "not in profile laptop"
    assert values["theirs", "a"].missing == "no config is eligible"
    assert values["theirs", "a"].trial_ids == ()


def test_bold_reaches_one_standard_deviation_of_the_best_mean() -> None:
    values = {"best": (80.0, 1.0), "within": (79.0, 0.0), "overlapping": (78.9, 5.0), "low": (10.0, 90.0)}
    assert best_of(values) == {"best", "within"}
    assert best_of({"alone": (3.0, None), "tied": (3.0, None), "below": (2.9, None)}) == {"alone", "tied"}
    assert best_of({}) == set()


def test_the_long_form_traces_a_cell_to_its_trials(results: Callable[..., Tables]) -> None:
    table = long_form(PAPER, compare(PAPER, results({"t0": 0.5, "t1": 0.75}))).to_pylist()
    [row] = [row for row in table if row["stage_id"] == "s0"]
    assert (row["row"], row["column"], row["mean"], row["published_mean"]) == ("Ours", "A", 62.5, 50.0)
    assert (row["trial_ids"], row["config_id"], row["overrides"]) == (["t0", "t1"], "c0", ["seeds=2"])
    assert [row["mean"] for row in table].count(None) == 2


def test_tables_come_back_as_they_were_written(store: Store) -> None:
    write_paper_tables(store, PAPER)
    write_paper_tables(store, replace(PAPER, profile="paper"))
    store.write("tables/damaged.json", b"{")
    assert read_paper_tables(store) == [PAPER, replace(PAPER, profile="paper")]


def test_stages_are_filled_in_by_cell() -> None:
    [table] = PAPER.with_stages({("table1", "ours", "b"): "s9"}).tables
    assert [(c.stage_id, c.missing) for c in table.cells] == [("s0", ""), ("s9", ""), ("s1", "")]
