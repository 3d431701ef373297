"""What `raysl show` prints of a folder that holds an edited search's stages too."""

import csv
import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console

from raysl.console.report import show
from raysl.results.tables.build import Tables


def printed(tables: Tables, form: str, most: int | None = None, intervals: str | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(tables, "/results", form, console, most, intervals)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_only_current_stages_are_shown_with_their_data(edited: Tables, form: str) -> None:
    text = printed(edited, form)
    assert text.count("rotation_semi: semi") == 2
    assert "rotation_semi: semi, small_resnet, 50 labelled images of digits" in text
    assert "rotation_semi: semi, small_resnet, 100 labelled images of digits" in text
    assert "1 earlier search of these stages is kept in /results" in text
    assert "earlier" not in printed(edited.current(), form)


def test_the_machine_readable_forms_hold_current_stages_alone(edited: Tables) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(edited, "csv"))))
    assert [(row["labels"], row["source"], row["params.optimizer.lr"]) for row in rows] == [
        ("50", "digits", "0.01"),
        ("50", "digits", "0.001"),
        ("100", "digits", "0.01"),
        ("100", "digits", "0.001"),
    ]
    facts = json.loads(printed(edited, "json"))
    for name in ("selections", "configs", "trials"):
        assert {row["stage_id"] for row in facts[name]} == {"s1", "s2"}


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_the_front_is_marked_where_several_objectives_are_weighed(weighed: Tables, form: str) -> None:
    text = printed(weighed, form)
    separator = "│" if form == "table" else "|"
    marks: list[dict[str, str]] = []
    columns: list[str] = []
    for line in text.split("\n"):
        cells = [cell.strip() for cell in line.replace("┃", separator).strip(separator).split(separator)]
        if cells[0] == "config":
            columns = cells
            marks.append({})
        elif cells[0] in ("c0", "c1", "c2", "c3") and "Pareto" in columns:
            marks[-1][cells[0]] = cells[columns.index("Pareto")]
    assert marks == [{"c0": "*", "c1": "*", "c2": "", "c3": ""}, {}]
    assert "Pareto front of probe_accuracy (highest) and seconds (lowest): c0, c1\n" in text
    assert text.count("Pareto front") == 1
    assert "not eligible: c3: seed 0 collapsed (all features alike)" in text


def test_the_machine_readable_forms_hold_the_front(weighed: Tables) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(weighed, "csv"))))
    assert [row["pareto"] for row in rows] == ["True", "True", "False", "False", ""]
    configs = json.loads(printed(weighed, "json"))["configs"]
    assert [row["pareto"] for row in configs] == [True, True, False, False, None]
    assert [row["objectives"] for row in configs] == [["probe_accuracy", "seconds"]] * 4 + [["probe_accuracy"]]


def test_a_search_without_an_eligible_config_has_an_empty_front(weighed: Tables) -> None:
    configs = weighed.configs.filter(pc.equal(weighed.configs["config_id"], "c3"))
    text = printed(replace(weighed, configs=configs), "table")
    assert "seconds (lowest): no config is eligible" in text


@pytest.mark.parametrize(("rule", "best"), [("train_loss", "c1"), ("probe_accuracy", "c0")])
def test_of_many_configs_the_best_are_shown_and_the_others_counted(weighed: Tables, rule: str, best: str) -> None:
    losses = {"c0": 0.3, "c1": 0.1, "c2": 0.2, "c3": None}
    configs = [
        row | {"final_loss_mean": losses[row["config_id"]], "selected": row["config_id"] == best}
        for row in weighed.configs.to_pylist()
    ]
    selections = [row | {"rule": rule} for row in weighed.selections.to_pylist()]
    many = replace(
        weighed,
        configs=pa.Table.from_pylist(configs[::-1], schema=weighed.configs.schema),
        selections=pa.Table.from_pylist(selections, schema=weighed.selections.schema),
    )
    text = printed(many, "markdown", most=1)
    first, alone = (
        [line[2:4] for line in part.splitlines() if line[:3] == "| c"][1:] for part in text.split("###")[1:]
    )
    assert sorted([first, alone]) == sorted([[best], ["c0"]])
    assert text.count("and 3 more configs: `raysl show /results`") == 1
    assert text.count("more configs") == 1
    assert "more configs" not in printed(many, "markdown", most=4)


def test_a_selected_config_that_is_not_among_the_best_is_shown_too(weighed: Tables) -> None:
    worst_is_selected = [row | {"selected": row["config_id"] == "c2"} for row in weighed.configs.to_pylist()]
    many = replace(weighed, configs=pa.Table.from_pylist(worst_is_selected, schema=weighed.configs.schema))
    first = printed(many, "markdown", most=2).split("###")[1]
    assert [line[2:4] for line in first.splitlines() if line[:3] == "| c"][1:] == ["c2", "c0"]


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_the_tie_set_is_below_the_selection_and_in_the_machine_readable_forms(edited: Tables, form: str) -> None:
    text = printed(edited, form)
    assert text.count("tie set: cannot be told from the best at 5 %: lr=0.01, lr=0.001; 2 of 2 configs (paired t ") == 2
    assert {row["in_tie_set"] for row in csv.DictReader(io.StringIO(printed(edited, "csv")))} == {"True"}
    assert {row["in_tie_set"] for row in json.loads(printed(edited, "json"))["configs"]} == {True}


def test_one_seed_has_no_tie_set_and_says_so(weighed: Tables) -> None:
    assert printed(weighed, "table").count("tie set: unknown, for one seed tells no two configs apart") == 1


@pytest.mark.parametrize(("kind", "ends"), [("t", "-0.1082, 0.9082"), ("bootstrap", "0.36, 0.44")])
def test_intervals_are_in_place_of_deviations_and_are_named(edited: Tables, kind: str, ends: str) -> None:
    losses, probes = {0: 0.36, 1: 0.44}, {0: 0.98, 1: 0.99}
    trials = [
        row | {"final_loss": losses[row["seed"]], "probe_accuracy": probes[row["seed"]]}
        for row in edited.trials.to_pylist()
    ]
    text = printed(
        replace(edited, trials=pa.Table.from_pylist(trials, schema=edited.trials.schema)), "markdown", None, kind
    )
    assert text.count(f"[{ends}]") == 4
    assert "±" not in text
    assert f"brackets: 95 % {'t' if kind == 't' else 'percentile bootstrap'} intervals over the seeds" in text
    assert ("100.0]" in text) is (kind == "t")  # no accuracy is beyond
    assert "±" in printed(edited, "markdown")


def test_a_selected_value_at_an_end_is_named_and_whether_the_grid_has_room_beyond(
    edited: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "optimizer.lr=0.01 is the largest of its 2 values: a larger one may be better" in printed(edited, "table")
    assert "no room" not in printed(edited, "table")
    monkeypatch.setattr("raysl.search.grid_ends.MOST_CONFIGS", 2)
    assert "the grid has no room for it (3 configs, and at most 2 are allowed): fewer" in printed(edited, "markdown")
    monkeypatch.undo()
    monkeypatch.setattr("raysl.search.grid_ends.MOST_TRIALS", 5)
    assert "the grid has no room for it (6 trials, and at most 5 are allowed): fewer" in printed(edited, "table")
