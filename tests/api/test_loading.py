"""What `raysl.load` takes: files, dicts, overrides of both kinds; and what it refuses, as a UserError."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import EXPERIMENT, write

import raysl
from raysl.plain_yaml import read_one

TABLES = Path(__file__).parents[2] / "search_spaces" / "tables"


def test_importing_raysl_imports_nothing_else_that_is_heavy() -> None:
    heavy = "('torch', 'ray', 'mlflow', 'pyarrow', 'numpy', 'pydantic', 'rich')"
    code = f"import sys, raysl; dir(raysl); print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_there_and_says_what_it_does() -> None:
    assert set(raysl.__all__) == set(dir(raysl))
    for name in set(raysl.__all__) - {"__version__"}:
        assert len((getattr(raysl, name).__doc__ or "").splitlines()[0]) > 20
    with pytest.raises(AttributeError, match="no attribute 'tnue'"):
        raysl.tnue  # noqa: B018


@pytest.mark.parametrize("source", ["path", "text", "dict"])
def test_a_file_by_its_path_or_name_and_a_dict_are_the_same_experiment(tmp_path: Path, source: str) -> None:
    file = write(tmp_path)
    given: Any = {"path": file, "text": str(file), "dict": read_one(EXPERIMENT).value}[source]
    experiment = raysl.load(given, overrides={"stages.semi.optimizer.lr": {"grid": [0.1, 0.2, 0.3]}, "seeds": [4]})
    assert [len(stage.configs) for stage in experiment.stages] == [3, 1]
    assert experiment.seeds == (4,)
    assert raysl.load(given, overrides=["seeds=[4]"]).seeds == raysl.load(given, overrides="seeds=[4]").seeds == (4,)


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no experiment": ({"source": 3}, ["experiment: 3 is of the type int", "a YAML file", "dict"]),
    "nothing": ({"source": None}, ["experiment: None"]),
    "a missing file": ({"source": "missing.yaml"}, ["missing.yaml", "cannot be read"]),
    "a path with a control character": ({"source": "a\0b"}, ["'\\x00'"]),
    "a table file": ({"source": TABLES / "sidae_figure7.yaml"}, ["sidae_figure7.yaml:", "a table file"]),
    "an unknown profile": ({"profile": "stl"}, ["--profile stl"]),
    "a profile of another type": ({"profile": 3}, ["profile: 3"]),
    "an override of another type": ({"overrides": 3}, ["overrides: 3", "dotted key"]),
    "overrides that are no texts": ({"overrides": [("seeds", 3)]}, ["overrides: ", "dotted key"]),
    "a text that is no override": ({"overrides": ["seeds"]}, ["--set seeds", "key=value"]),
    "an overridden key that is unknown": ({"overrides": {"data.labls": 4}}, ["overrides['data.labls']", "'labels'"]),
    "an overridden value that is wrong": ({"overrides": {"seeds": "two"}}, ["overrides['seeds']: seeds"]),
    "a key that is no text": ({"overrides": {3: 4}}, ["overrides[3]", "dotted"]),
    "a key that is empty": ({"overrides": {"": 4}}, ["overrides['']"]),
    "a value that is an object": ({"overrides": {"seeds": object()}}, ["overrides['seeds']: <object object"]),
    "a value within a value": ({"overrides": {"data": {"source": b"x"}}}, ["overrides['data']['source']: b'x'"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_a_user_error_with_its_place(kind: str, tmp_path: Path) -> None:
    given, expected = REFUSED[kind]
    with pytest.raises(raysl.UserError) as refused:
        raysl.load(**{"source": write(tmp_path)} | given)
    assert [text for text in expected if text not in str(refused.value)] == [], str(refused.value)


def test_a_table_file_is_loaded_with_its_profile_cells_and_overrides() -> None:
    file, overrides = TABLES / "cavallari2022_table1.yaml", {"seeds": 2, "data.labels": 1000}
    texts = raysl.load_tables(file, "laptop", ["seeds=2", "data.labels=1000"])
    assert raysl.load_tables(os.fspath(file), "laptop", overrides).tables == texts.tables
    assert {len(experiment.seeds) for experiment in texts.experiments} == {2}
    key = next(iter(texts.cells[0]))
    [one] = raysl.load_tables(file, "laptop", cells=key).experiments
    assert one.name == texts.experiments[0].name
    for mistake in ({"cells": ["nothing/*"]}, {"profile": "lapto"}, {"profile": 3}, {"overrides": {"seeds": "x"}}):
        with pytest.raises(raysl.UserError):
            raysl.load_tables(file, **mistake)
    with pytest.raises(raysl.UserError, match=r"rotation\.yaml"):
        raysl.load_tables(TABLES.parent / "rotation.yaml", cells=["*"])
