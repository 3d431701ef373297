"""The reference: what it says of each key, and that the file is the one that the models make."""

from pathlib import Path

import pytest
from pydantic import BaseModel

import raysl
from raysl import methods
from raysl.config.meanings import meanings, method_meanings, read_entries
from raysl.config.reference import flow, reference
from raysl.config.reference_examples import EXAMPLES
from raysl.plain_yaml import read_one

FILE = Path(raysl.__file__).parents[1] / "docs" / "reference.md"


def test_the_file_is_what_the_models_make() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "python -m raysl.config.reference > docs/reference.md"


@pytest.mark.parametrize("model", EXAMPLES, ids=lambda model: model.__name__)
def test_every_key_has_a_meaning_and_an_example_that_is_valid(model: type[BaseModel]) -> None:
    assert set(meanings(model)) == set(model.model_fields)
    assert set(EXAMPLES[model]) == set(model.model_fields)
    model.model_validate(EXAMPLES[model])
    for key, value in EXAMPLES[model].items():
        assert read_one(f"{key}: {flow(value)}").value == {key: value}


@pytest.mark.parametrize("name", methods.names())
def test_every_hyperparameter_has_a_meaning(name: str) -> None:
    assert set(method_meanings(name)) == set(methods.describe(name).hyperparameters)


def test_all_keys_are_there() -> None:
    text = FILE.read_text(encoding="utf-8")
    for key in ("source", "backbone", "start_from", "n_startup_trials", "nesterov", "warmup", "min_peers", "lambd"):
        assert key in text
    assert "| `labels` | integer >= 1 or number > 0.0, < 1.0 or 'all' | `0.01` |" in text


def test_entries_begin_lines_or_follow_two_spaces() -> None:
    docstring = """A probe.

    k [images]: neighbours: all
        if there are fewer.  low, high: ends.  None: not a key.
    other: not a key either.

    Not of it.
    """
    found = read_entries("\n".join(line.strip() for line in docstring.splitlines()), ["k", "low", "high"])
    assert {key: (one.text, one.unit) for key, one in found.items()} == {
        "k": ("neighbours: all if there are fewer.", "images"),
        "low": ("ends. None: not a key. other: not a key either.", ""),
        "high": ("ends. None: not a key. other: not a key either.", ""),
    }
