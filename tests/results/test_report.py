"""What `raysl show` prints of a folder that holds an edited search's stages too."""

import csv
import io
import json

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
