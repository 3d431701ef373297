"""A dict says what a YAML file of the same values says, and is refused for the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import EXPERIMENT, write

from raysl.config import load
from raysl.config.document import ConfigError, read_document
from raysl.config.paper_table import is_table_file
from raysl.config.plain_dict import read_dict
from raysl.plain_yaml import MOST_BYTES, MOST_VALUES, read_one
from raysl.search.experiment import Experiment

SPACES = Path(__file__).parents[2] / "search_spaces"
TINY: dict[str, Any] = read_one(EXPERIMENT).value
ADAM = TINY["stages"]["semi"]["optimizer"]


def tiny(*path: str, value: Any) -> dict[str, Any]:
    """Return the tiny experiment with another value at a path."""
    found: dict[str, Any] = read_one(EXPERIMENT).value
    here = found
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return found


def without_places(experiment: Experiment) -> Experiment:
    return replace(experiment, places={})


@pytest.mark.parametrize("file", sorted(SPACES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_dict_is_the_experiment_of_its_yaml(file: Path) -> None:
    document = read_document(file)
    assert not is_table_file(file)
    for profile in (None, *document.values.get("profiles", {})):
        assert without_places(load(document.values, profile)) == without_places(load(file, profile))
    assert {path: place.count("[") for path, place in read_dict(document.values).places.items()} == {
        path: len(path) for path in document.places
    }


def test_what_is_read_is_not_what_was_given() -> None:
    given = tiny("seeds", value=[3, 1])
    experiment = load(given)
    given["seeds"].append(2)
    given["stages"]["semi"]["epochs"] = 9
    assert experiment.seeds == (3, 1)
    assert experiment.stages[0].settings.epochs == 4


def test_python_s_other_numbers_and_lists_are_taken() -> None:
    grid = {"grid": tuple(np.logspace(-2, -3, 2))}
    given = tiny("stages", "semi", "optimizer", value={**ADAM, "lr": grid}) | {"seeds": range(2)}
    given["stages"]["semi"]["epochs"] = np.int64(4)
    assert without_places(load(given)) == without_places(load(TINY))


ITSELF: dict[str, Any] = {}
ITSELF["again"] = ITSELF
WIDE: dict[str, Any] = {}
WIDE |= {"one": WIDE, "two": [WIDE, WIDE]}
REFUSED: dict[str, tuple[Any, list[str]]] = {
    "an unknown key": (tiny("data", "labls", value=4), ["dict['data']['labls']: data.labls: unknown", "'labels'"]),
    "a value of another kind": (tiny("stages", "semi", "epochs", value="4"), ["dict['stages']['semi']['epochs']: "]),
    "a truth value for a count": (tiny("seeds", value=True), ["dict['seeds']: seeds"]),
    "an item of a list": (tiny("seeds", value=[0, -1]), ["dict['seeds'][1]: seeds.1"]),
    "a missing key": ({key: TINY[key] for key in ("data", "stages")}, ["dict: name: this key must be given"]),
    "an object": (tiny("data", "source", value=Path("x")), ["dict['data']['source']: ", "PosixPath", "texts"]),
    "an array": (tiny("seeds", value=np.arange(3)), ["dict['seeds']: ", "ndarray"]),
    "bytes": (tiny("data", "source", value=b"digits"), ["dict['data']['source']: b'digits' is of the type bytes"]),
    "a set": (tiny("seeds", value={1}), ["dict['seeds']: {1} is of the type set"]),
    "a key that is no word": (tiny("data", value={None: 1}), ["dict['data']: a key is a word, and here it is None"]),
    "a truth value as key": (tiny("data", value={True: 1}), ["dict['data']: a key is a word, and here it is True"]),
    "a key given twice": (tiny("data", value={1: 2, "1": 3}), ["dict['data']['1']: this key is given twice"]),
    "a key in two forms": (tiny("data", value={"é": 2, "e\u0301": 3}), ["this key is given twice, in two forms"]),
    "a control character": (tiny("data", "source", value="a\x00b"), ["dict['data']['source']: ", "'\\x00'"]),
    "one in a key": (tiny("data", value={"a\x07": 1}), ["dict['data']: ", "'\\x07'"]),
    "a long number": (tiny("seeds", value=10**100), ["dict['seeds']: a number has at most 100 digits"]),
    "no number": (tiny("stages", "finetune", "optimizer", "lr", value=float("nan")), ["['lr']: ", "finite number"]),
    "a long text": (tiny("name", value="x" * (MOST_BYTES + 1)), ["dict['name']: more than 262,144 characters"]),
    "many values": (tiny("seeds", value=[0] * (MOST_VALUES + 1)), ["more than 20,000 keys and values"]),
    "a dict within itself": (tiny("data", value=ITSELF), ["nested more than 32 deep, or within itself"]),
    "one within itself, often": (tiny("data", value=WIDE), ["dict['data']"]),
    "no mapping of stages": (tiny("stages", value=["semi"]), ["dict['stages']: stages: must be a mapping"]),
    "tables": (tiny("tables", value={}), ["dict['tables']: a table file", "take the file"]),
    "a profile that is none": (tiny("profiles", value={"short": 3}), ["dict['profiles']['short']: profiles.short"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_named_with_its_place(kind: str) -> None:
    given, expected = REFUSED[kind]
    with pytest.raises(ConfigError) as refused:
        load(given, "short" if "profiles" in given else None)
    assert [text for text in expected if text not in str(refused.value)] == [], str(refused.value)


def test_profiles_and_overrides_stand_over_a_dict_as_over_a_file(tmp_path: Path) -> None:
    profiles = "profiles:\n  short: {seeds: 1, stages: {semi: {epochs: 2}}}\n"
    file = write(tmp_path, EXPERIMENT + profiles)
    given = read_one(EXPERIMENT + profiles).value
    overrides = ["stages.semi.epochs=3", "data.labels=30"]
    both = [load(source, "short", overrides) for source in (file, given)]
    assert without_places(both[0]) == without_places(both[1])
    assert (both[1].place("seeds"), both[1].place("data.labels")) == (
        "dict['profiles']['short']['seeds']",
        "--set data.labels=30",
    )
    with pytest.raises(ConfigError, match=r"--profile shrt: dict has no such profile; did you mean 'short'\?"):
        load(given, "shrt")
