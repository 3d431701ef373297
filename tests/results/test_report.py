"""What `raysl show` prints of a folder that holds an edited search's stages too."""

import csv
import io
import json
from dataclasses import replace

import pyarrow.compute as pc
import pytest
from rich.console import Console

from raysl.console.report import show
from raysl.results.tables import Tables


def printed(tables: Tables, form: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(tables, "/results", form, console)
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
