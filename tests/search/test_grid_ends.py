"""Selected values at an end of their grid are named, and those that cannot go on are not."""

from itertools import product
from typing import Any

import pytest

from raysl.search.grid_ends import GridEnd, grid_ends, growth_text, too_many


def grid(**values: list[Any]) -> list[dict[str, Any]]:
    """Return the configs of a grid; `c0` is the first."""
    rows = product(*values.values())
    keys = [f"params.{key.replace('__', '.')}" for key in values]
    return [{"config_id": f"c{n}", **dict(zip(keys, row, strict=True))} for n, row in enumerate(rows)]


LRS = grid(optimizer__lr=[1e-2, 1e-3, 1e-4])


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("c0", [GridEnd("optimizer.lr", 1e-2, "largest", 3)]),
        ("c1", []),
        ("c2", [GridEnd("optimizer.lr", 1e-4, "smallest", 3)]),
    ],
)
def test_a_value_between_others_is_not_named(chosen: str, expected: list[GridEnd]) -> None:
    assert grid_ends(LRS, chosen, "rotation") == expected


def test_a_limit_of_the_method_cannot_go_on() -> None:
    of_w = grid(method__w=[0.0, 0.5, 1.0])
    assert grid_ends(of_w, "c2", "sidae") == []
    assert grid_ends(grid(method__w=[0.25, 0.5]), "c1", "sidae") == [GridEnd("method.w", 0.5, "largest", 2)]


def test_each_key_has_its_own_grid() -> None:
    configs = grid(method__beta=[10, 100, 1000], method__gamma=[2, 20, 200])
    assert [end.key for end in grid_ends(configs, "c8", "trimix")] == ["method.beta", "method.gamma"]
    assert grid_ends(configs, "c5", "trimix") == [GridEnd("method.gamma", 200, "largest", 3)]


def test_names_flags_and_single_values_have_no_ends() -> None:
    configs = grid(method__pretext=["a", "b"], method__norm=[False, True], epochs=[5], optimizer__lr=[0.1, 0.2])
    assert [end.key for end in grid_ends(configs, "c0", None)] == ["optimizer.lr"]


def test_a_config_that_is_not_there_has_none() -> None:
    assert grid_ends(LRS, "another", "rotation") == []


def test_proposed_values_are_no_grid() -> None:
    drawn = [{"config_id": f"c{n}", "params.a": n, "params.b": n} for n in range(3)]
    assert grid_ends(drawn, "c2", None) == []


def test_a_grid_without_room_beyond_its_ends_is_said_with_the_number_of_configs_or_trials() -> None:
    lr, decay = GridEnd("optimizer.lr", 0.1, "largest", 100), GridEnd("optimizer.weight_decay", 0.1, "largest", 99)
    assert growth_text([lr], 9900, 9900) == "", "9,999 configs"
    assert growth_text([lr, decay], 9900, 9900).startswith("the grid has no room for them (10,100 configs, and at most")
    assert growth_text([lr], 10_000, 10_000) == (
        "the grid has no room for it (10,100 configs, and at most 10,000 are allowed): fewer values of other keys, or "
        "`search: {algorithm: random}`"
    )
    assert "50,051 trials, and at most 50,000" in growth_text([lr], 9900, 49_555)
    assert growth_text([], 10_000, 60_000) == "", "the best is inside"


def test_a_grid_may_be_as_large_as_the_largest() -> None:
    assert too_many(10_000, 50_000) == ""
    assert too_many(10_001, 10_001)
    assert too_many(5, 50_001)
