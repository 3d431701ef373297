"""One trial from Python: the same numbers as in a search, by the same mistakes refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import Finished

import raysl
from raysl.results.records.rows import Epoch


def test_its_numbers_are_those_of_the_search(finished: Callable[..., Finished]) -> None:
    expected = finished()
    trials = raysl.read(str(expected.results)).trials.to_pylist()
    told: list[Epoch] = []
    semi = raysl.load(expected.file, overrides={"stages.semi.optimizer.lr": 1e-3})
    row = raysl.train(semi, "semi", 1, report=told.append)
    [trial] = [trial for trial in trials if trial["trial_id"] == row.trial_id]
    assert (row.final_loss, row.probe.get("accuracy"), row.seed) == (trial["final_loss"], trial["probe_accuracy"], 1)
    assert [epoch.loss for epoch in told] == [epoch.loss for epoch in row.curve]
    assert len(told) == 4


def test_a_later_stage_starts_from_the_results_of_the_earlier_one(
    finished: Callable[..., Finished], capfd: pytest.CaptureFixture[str]
) -> None:
    expected = finished()
    row = raysl.train(expected.file, stage="finetune", seed=0, results=expected.results)
    trials = raysl.read(str(expected.results)).trials.to_pylist()
    assert row.trial_id in {trial["trial_id"] for trial in trials if trial["stage"] == "finetune"}
    assert capfd.readouterr() == ("", "")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no stage": ({}, "give --stage: choices: finetune, semi"),
    "an unknown stage": ({"stage": "smi"}, "--stage smi: did you mean 'semi'?"),
    "a stage of another type": ({"stage": 1}, "--stage 1: choices"),
    "several configs": ({"stage": "semi"}, "tiny.yaml:7: stage 'semi' has 2 configs"),
    "nothing to start from": ({"stage": "finetune"}, "--results (not given): stage 'finetune'"),
    "a negative seed": ({"seed": -1}, "--seed -1: must be a whole number from 0 to 4294967295"),
    "a seed that is too large": ({"seed": 2**32}, "--seed 4294967296"),
    "a seed that is no number": ({"seed": "0"}, "--seed '0'"),
    "a truth value for a seed": ({"seed": True}, "--seed True"),
    "a table file": (
        {"experiment": raysl.load_tables(Path(__file__).parents[2] / "search_spaces/tables/sidae_figure7.yaml")},
        "one of its `experiments`",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_a_user_error(kind: str, finished: Callable[..., Finished]) -> None:
    given, expected = REFUSED[kind]
    with pytest.raises(raysl.UserError) as refused:
        raysl.train(**{"experiment": finished().file} | given)
    assert expected in str(refused.value)
