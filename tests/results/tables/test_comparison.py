"""A paper's tables beside our numbers: what is bold, what is missing, and what each cell is the mean of."""

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from raysl.errors import ResultsError
from raysl.results.records.paper_tables import (
    Cell,
    PaperTable,
    PaperTables,
    earlier_record,
    read_paper_tables,
    write_paper_tables,
)
from raysl.results.records.rows import Score, TrialRow
from raysl.results.records.seed_design import SeedDesign
from raysl.results.records.stages import Ineligible, SelectionRecord, StageRecord
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, build
from raysl.results.tables.comparison import ComparedCell, best_of, compare, long_form

Make = Callable[..., Any]


def cell(column: str, row: str = "ours", digest: str = "d") -> Cell:
    return Cell(f"table1/{row}/{column}", row, column, (50.0, 1.5), "e.yaml", "laptop", ("seeds=2",), "semi", digest)


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
            (cell("a"), cell("b", digest=""), cell("a", row="theirs")),
        ),
    ),
    stages={"table1/ours/a": "s0", "table1/theirs/a": "s1"},
    reasons={"table1/ours/b": "not in profile laptop"},
)


@pytest.fixture
def results(make_stage: Make, make_row: Make, make_selection: Make) -> Callable[..., Tables]:
    """Return the tables of two stages: c0 of the first is selected, nothing of the second."""

    def make(accuracies: dict[str, float], start: str | None = None, design: SeedDesign | None = None) -> Tables:
        spec = json.dumps({"start": start})
        stages: list[StageRecord] = [
            make_stage(design=design),
            make_stage(stage_id="s1", stage="other"),
        ]
        rows: dict[str, TrialRow] = {f"t{i}": make_row(trial_id=f"t{i}", spec=spec) for i in range(4)}
        scores = {trial_id: Score(trial_id, {"accuracy": value}, 100, "{}") for trial_id, value in accuracies.items()}
        nothing: dict[str, Any] = {"config_id": None, "trial_ids": (), "reason": "no config is eligible"}
        selections: dict[str, SelectionRecord] = {
            "s0": make_selection(
                stage_id="s0",
                config_id="c0",
                trial_ids=("t0", "t1"),
                ineligible=(Ineligible("c1", "seed 0 diverged"),),
            ),
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


def test_the_standard_error_is_that_of_the_mean_over_the_seeds(results: Callable[..., Tables]) -> None:
    values = compared(results({"t0": 0.5, "t1": 0.75}))
    error = values["ours", "a"].standard_error
    assert error == pytest.approx(12.5)  # of 50 and 75: 17.68 over the root of 2
    assert values["theirs", "a"].standard_error is None
    one_seed = replace(values["ours", "a"], ours=(50.0, None), trial_ids=("t0",))
    assert one_seed.standard_error is None


def test_an_interval_is_of_the_seeds_and_ends_at_all_or_nothing(results: Callable[..., Tables]) -> None:
    [close] = compare(PAPER, results({"t0": 0.5, "t1": 0.51}), "t")
    low, high = close.cells["ours", "a"].interval or (0.0, 0.0)
    assert (low, high) == pytest.approx((50.5 - 12.706205 / 2, 50.5 + 12.706205 / 2))  # one degree of freedom
    [far] = compare(PAPER, results({"t0": 0.5, "t1": 0.75}), "t")
    assert far.cells["ours", "a"].interval == (0, 100)
    assert {(row["low"], row["high"]) for row in long_form(PAPER, [far]).to_pylist()} == {(0, 100), (None, None)}
    [none] = compare(PAPER, results({"t0": 0.5}), "t")
    assert none.cells["ours", "a"].interval is None


def test_cells_of_a_design_have_no_standard_error_and_no_interval(
    results: Callable[..., Tables],
) -> None:
    design = SeedDesign(("labels", "init"), "crossed")
    [one] = compare(PAPER, results({"t0": 0.70, "t1": 0.74}, design=design), "t")
    value = one.cells["ours", "a"]
    assert value.ours is not None
    assert (value.standard_error, value.interval) == (None, None)


def test_a_seed_without_a_score_is_never_averaged_away(results: Callable[..., Tables]) -> None:
    value = compared(results({"t0": 0.5}))["ours", "a"]
    assert (value.ours, value.missing, value.best) == (None, "not scored on the test set yet", False)


def test_a_cell_of_the_probe_is_not_of_the_test_set(make_stage: Make, make_row: Make, make_selection: Make) -> None:
    [table] = PAPER.tables
    of_probe = replace(table, cells=(replace(cell("a"), value="probe"), cell("b")))
    paper = replace(PAPER, tables=(of_probe,), stages=dict.fromkeys(("table1/ours/a", "table1/ours/b"), "s0"))
    spec = json.dumps({"start": None})
    selected = {"s0": make_selection(stage_id="s0", config_id="c0", trial_ids=("t0", "t1"))}
    scores = {trial_id: Score(trial_id, {"accuracy": 0.5}, 100, "{}") for trial_id in ("t0", "t1")}

    def cells(*probes: dict[str, float]) -> tuple[ComparedCell, ComparedCell]:
        rows = {f"t{i}": make_row(trial_id=f"t{i}", spec=spec, probe=probe) for i, probe in enumerate(probes)}
        [one] = compare(paper, build([make_stage()], rows, scores, [], selected), "t")
        return one.cells["ours", "a"], one.cells["ours", "b"]

    probe, test = cells({"accuracy": 0.25}, {"accuracy": 0.75})
    assert (probe.ours, test.ours) == ((50.0, pytest.approx(35.36, abs=0.01)), (50.0, 0.0))
    assert probe.interval == (0.0, 100.0) != test.interval
    probe, test = cells({"accuracy": 0.25}, {})
    assert (probe.ours, probe.missing, test.ours) == (None, "not measured by the probe", (50.0, 0.0))


def test_a_table_without_a_cell_in_the_profile_is_left_out(results: Callable[..., Tables]) -> None:
    gone = replace(PAPER.tables[0], name="table2", cells=(cell("a", digest=""), cell("b", digest="")))
    found = results({"t0": 0.5, "t1": 0.75})
    both = replace(PAPER, tables=(gone, *PAPER.tables))
    assert [one.table.name for one in compare(both, found)] == ["table1"]
    assert [one.table.name for one in compare(replace(PAPER, tables=(gone,)), found)] == ["table2"]


def test_every_missing_cell_says_why(results: Callable[..., Tables]) -> None:
    values = compared(results({"t0": 0.5, "t1": 0.75}))
    assert values["ours", "b"].missing == "not in profile laptop"
    assert values["theirs", "a"].missing == "no config is eligible"
    assert values["theirs", "a"].trial_ids == ()


def test_bold_reaches_one_standard_deviation_of_the_best_mean() -> None:
    values = {"best": (80.0, 1.0), "within": (79.0, 0.0), "overlapping": (78.9, 5.0), "low": (10.0, 90.0)}
    assert best_of(values) == {"best", "within"}
    assert best_of({"alone": (3.0, None), "tied": (3.0, None), "below": (2.9, None)}) == {"alone", "tied"}
    assert best_of({"one seed": (50.0, None), "two": (50.0, 1.0), "near": (49.5, None)}) == {"one seed", "two", "near"}
    assert best_of({}) == set()


def test_numbers_of_the_probe_and_of_the_test_are_not_compared(results: Callable[..., Tables]) -> None:
    [table] = PAPER.tables
    of_probe = replace(cell("a", row="theirs"), published=(60.0, 0.0), value="probe")
    paper = replace(PAPER, tables=(replace(table, cells=(cell("a"), of_probe)),))
    [one] = compare(paper, results({"t0": 0.5, "t1": 0.75}))
    assert all(value.published_best for value in one.cells.values())
    assert one.cells["ours", "a"].best


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


def test_stages_are_found_cell_by_cell() -> None:
    found = PAPER.found({"table1/ours/b": "s9", "table1/ours/a": None}, "nothing to start from")
    assert found.stages == {"table1/ours/b": "s9", "table1/theirs/a": "s1"}
    assert found.reasons == {"table1/ours/a": "nothing to start from"}


def test_only_cells_that_have_not_changed_are_carried_over() -> None:
    [table] = PAPER.tables
    edited = replace(table, cells=(cell("a", digest="other"), *table.cells[1:]))
    now = replace(PAPER, tables=(edited,), stages={}, reasons={"table1/theirs/a": "not among --cells"})
    carried = now.carried_over(PAPER)
    assert carried.stages == {"table1/theirs/a": "s1"}
    of_probe = tuple(replace(one, value="probe", published=None) for one in table.cells)
    assert (
        replace(PAPER, tables=(replace(table, cells=of_probe),), stages={}).carried_over(PAPER).stages == PAPER.stages
    )
    assert carried.reasons == {}


def test_tables_of_another_source_are_not_written_over(store: Store) -> None:
    write_paper_tables(store, PAPER)
    assert earlier_record(store, PAPER) == PAPER
    assert earlier_record(store, replace(PAPER, name="paper-laptop", profile="x")) is None
    with pytest.raises(ResultsError, match="'Somebody 2020'"):
        earlier_record(store, replace(PAPER, source="Somebody else"))


def test_a_number_from_models_that_are_no_longer_selected_is_no_number(results: Callable[..., Tables]) -> None:
    fresh = {"t0": 0.5, "t1": 0.75}
    assert compared(results(fresh, start="t1"))["ours", "a"].missing == ""
    value = compared(results(fresh, start="t3"))["ours", "a"]
    assert value.ours is None
    assert "no longer selected" in value.missing


def test_a_cell_says_how_many_configs_it_was_chosen_from(results: Callable[..., Tables]) -> None:
    value = compared(results({"t0": 0.5, "t1": 0.75}))["ours", "a"]
    assert (value.num_eligible, value.num_configs) == (1, 2)
