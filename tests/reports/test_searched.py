"""Searched keys are found with their values, their names, and the scale that fits them."""

import random
from collections.abc import Callable

import pytest

from raysl.reports.searched import fits_log, measure_of, measured, searched_keys, unmeasured_reason
from raysl.reports.stages import read_selected

Made = Callable[..., str]
RANDOM = random.Random(0)


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([10 ** RANDOM.uniform(-5, -1) for _ in range(20)], True),
        ([0.0001] + [RANDOM.random() for _ in range(20)], False),  # four decades, and yet uniform
        ([32.0, 64.0, 128.0, 256.0], True),
        ([0.25, 0.5, 0.75, 1.0], False),
        ([0.0, 0.001, 0.1], False),
        ([-0.1, 0.001, 0.1], False),
        ([0.001, 0.01], True),
        ([0.2, 1.0], False),
        ([0.001] * 9 + [0.01, 0.1], True),  # a sampler that stays at one value says nothing of the scale
        ([100.0] * 9 + [0.0, 50.0], False),
    ],
)
def test_the_scale_is_where_values_lie_evenly(values: list[float], log: bool) -> None:
    assert fits_log(values) is log


def test_keys_with_one_value_are_not_searched(made: Made) -> None:
    configs = [{"optimizer.lr": 0.1, "method.w": w, "optimizer.name": "sgd"} for w in (0.0, 0.5)]
    [stage] = read_selected([made(("semi", configs, lambda params, seed: {}))])
    [key] = searched_keys(stage)
    assert (key.name, key.column, key.is_number) == ("w", "params.method.w", True)
    assert dict(key.values) == {"c0": 0.0, "c1": 0.5}


def test_names_that_tell_too_little_are_whole(made: Made) -> None:
    pairs = [("sgd", 0.1, 1.0, 8), ("adam", 0.2, 2.0, 16)]
    configs = [{"optimizer.name": a, "optimizer.w": b, "method.w": c, "batch_size": d} for a, b, c, d in pairs]
    [stage] = read_selected([made(("semi", configs, lambda params, seed: {}))])
    keys = {key.column: key for key in searched_keys(stage)}
    names = ["batch_size", "method.w", "optimizer.name", "optimizer.w"]
    assert [keys[f"params.{name}"].name for name in names] == names
    assert not keys["params.optimizer.name"].is_number


def test_the_objective_is_the_rules_unless_another_is_given(made: Made) -> None:
    configs = [{"w": 0.0}, {"w": 1.0}]
    outcome = {"final_loss": 2.0, "probe_accuracy": None}
    [stage] = read_selected([made(("semi", configs, lambda params, seed: outcome), rule="train_loss")])
    assert measure_of(stage, None) == "final_loss"
    assert measure_of(stage, "seconds") == "seconds"
    assert len(measured(stage, "final_loss")) == 2
    assert measured(stage, "probe_accuracy") == []
    assert unmeasured_reason(stage, "final_loss") == ""
    assert unmeasured_reason(stage, "probe_accuracy") == "2 of 2 eligible configs have no probe_accuracy"
    assert "`raysl tune --score all`" in unmeasured_reason(stage, "test_accuracy")
