"""What explains the objective is found, on the scale that it was searched on, or the report says why not."""

import math
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raysl.reports import explained, importance
from raysl.reports.explained import obstacle
from raysl.reports.stages import Searched, read_selected

Made = Callable[..., str]
Run = Callable[..., tuple[str, str]]
Params = Mapping[str, Any]
RANDOM = random.Random(0)
CONFIGS = [
    {"optimizer.lr": 10 ** RANDOM.uniform(-5, -1), "method.w": RANDOM.random(), "kind": RANDOM.choice("ab")}
    for _ in range(30)
]


def by_lr(params: Params, seed: int) -> dict[str, Any]:
    """Accuracy rises up to a learning rate of 0.001 and stays; w matters less, and seeds differ a little."""
    return {"probe_accuracy": (0.3 if params["optimizer.lr"] < 1e-3 else 0.6) + 0.2 * params["method.w"] + 0.001 * seed}


def shares(stage: Searched, column: str = "probe_accuracy") -> dict[str, float]:
    return {key.name: share for key, share in explained.importance(stage, column).shares.items()}


def best_shares(stage: Searched, column: str = "probe_accuracy") -> dict[str, float]:
    return {key.name: share for key, share in explained.importance(stage, column).best_shares.items()}


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "out" / "importance.arrow"))).read_all()
    assert all(b"description" in field.metadata for field in table.schema)
    return list(table.to_pylist())


def test_the_key_that_decides_explains_most_and_comes_first(made: Made) -> None:
    [stage] = read_selected([made(("semi", CONFIGS, by_lr))])
    found = explained.importance(stage, "probe_accuracy")
    assert next(iter(found.shares)).name == "lr"
    # Of a space that were taken as linear, lr below 0.001 would be a hundredth, and w would explain most.
    told = {key.name: share for key, share in found.shares.items()}
    assert told["lr"] > 0.7
    assert told["kind"] < 0.1
    assert found.rest == pytest.approx(1 - sum(told.values()))
    assert found.num_configs == 30
    assert told == shares(stage)  # seeded


def test_what_tells_the_best_from_the_good_is_another_key_than_what_spoils_a_config(made: Made) -> None:
    """A low learning rate costs half of the accuracy, but half of all rates are high, and w alone tells these apart."""

    def spoilt(params: Params, seed: int) -> dict[str, Any]:
        lr = params["optimizer.lr"]
        return {"probe_accuracy": 0.4 + 0.05 * math.log10(lr)} if lr < 1e-3 else by_lr(params, seed)

    [stage] = read_selected([made(("semi", CONFIGS, spoilt))])
    found = explained.importance(stage, "probe_accuracy")
    best = {key.name: share for key, share in found.best_shares.items()}
    assert found.num_best == 5
    assert best["w"] > 0.6 > 0.3 > best["lr"]
    assert sum(best.values()) == pytest.approx(1)
    assert max(shares(stage), key=shares(stage).__getitem__) == "lr"


def test_the_best_are_those_of_the_least_value_where_less_is_better(made: Made) -> None:
    def losses(params: Params, seed: int) -> dict[str, Any]:
        done = by_lr(params, seed)
        return done | {"final_loss": 2.0 - done["probe_accuracy"], "seconds": 100 - 50 * done["probe_accuracy"]}

    [stage] = read_selected([made(("semi", CONFIGS, losses))])
    for column in ("final_loss", "seconds"):
        assert best_shares(stage, column) == pytest.approx(best_shares(stage))


def test_the_best_of_a_grid_are_counted_value_by_value(made: Made) -> None:
    grid = [{"lr": 10.0**place, "w": w / 4} for place in range(-4, 0) for w in range(5)]

    def spoilt(params: Params, seed: int) -> dict[str, Any]:
        return {"probe_accuracy": (0.1 if params["lr"] < 1e-3 else 0.6) + 0.2 * params["w"]}

    [stage] = read_selected([made(("semi", grid, spoilt))])
    found = explained.importance(stage, "probe_accuracy")
    best = best_shares(stage)
    assert found.num_best == 6  # the three of w=1, and of the next the three that are equal
    assert best["w"] > 0.7
    assert shares(stage)["lr"] > 0.9

    def latin(params: Params, seed: int) -> dict[str, Any]:
        place = round(params["w"]) + round(params["x"])
        return {"probe_accuracy": 0.9 if place % 5 == 0 else 0.1 + 0.01 * place}

    square = [{"w": float(w), "x": float(x)} for w in range(5) for x in range(5)]
    [even] = read_selected([made(("even", square, latin), name="even")])
    assert best_shares(even) == {"w": 0.0, "x": 0.0}  # only both together decide


def test_too_few_configs_and_too_many_equal_ones_say_nothing_of_the_best(made: Made) -> None:
    def alike(params: Params, seed: int) -> dict[str, Any]:
        return {"probe_accuracy": 0.3 if params["optimizer.lr"] < 1e-4 else 0.6}

    uri = made(("few", CONFIGS[:9], by_lr), ("enough", CONFIGS[:10], by_lr), ("alike", CONFIGS, alike))
    found = {one.stage: explained.importance(one, "probe_accuracy") for one in read_selected([uri])}
    few, enough, equal = (found[name] for name in ("few", "enough", "alike"))
    assert few.best_obstacle == "9 eligible configs, and PED-ANOVA needs 10"
    assert (enough.best_obstacle, enough.num_best) == ("", 5)
    assert (
        equal.best_obstacle
        == f"PED-ANOVA cannot tell the best: {equal.num_best} of 30 configs are as good as one another"
    )
    assert few.best_shares == equal.best_shares == {} != enough.best_shares
    assert few.shares
    assert equal.shares


def test_categories_and_another_column_are_explained_too(made: Made) -> None:
    def slow(params: Params, seed: int) -> dict[str, Any]:
        return by_lr(params, seed) | {"seconds": 10.0 if params["kind"] == "a" else 30.0}

    [stage] = read_selected([made(("semi", CONFIGS, slow))])
    assert shares(stage, "seconds")["kind"] > 0.9


def test_configs_that_are_not_eligible_say_nothing(made: Made) -> None:
    def ended(params: Params, seed: int) -> dict[str, Any]:
        if params["kind"] == "a" and seed == 1:
            return {"status": "collapsed", "reason": "all features alike", "final_loss": None, "probe_accuracy": None}
        return by_lr(params, seed)

    [stage] = read_selected([made(("semi", CONFIGS, ended))])
    found = explained.importance(stage, "probe_accuracy")
    assert found.num_configs == sum(params["kind"] == "b" for params in CONFIGS) < 30
    assert shares(stage)["kind"] == 0.0


def test_what_cannot_be_told_is_answered_with_the_reason(made: Made) -> None:
    w = [{"w": 0.25 * place} for place in range(5)]
    lr = [{"w": place, "lr": 0.1 / place} for place in range(1, 4)]
    few = [{"w": place % 5, "lr": 0.1 * place} for place in range(1, 9)]

    def differ(params: Params, seed: int) -> dict[str, Any]:
        done = by_lr({"optimizer.lr": 0, "method.w": params.get("w", 0)}, seed)
        return done | ({"test_accuracy": 0.5} if params.get("w", 9) < 2 else {})

    stages = [("none", [{}], differ), ("one", w, differ), ("three", lr, differ), ("eight", few, differ)]
    known = {stage.stage: stage for stage in read_selected([made(*stages)])}
    assert obstacle(known["none"], "probe_accuracy") == "no hyperparameter was searched"
    assert "w alone was searched, and so explains all" in str(obstacle(known["one"], "probe_accuracy"))
    assert obstacle(known["three"], "probe_accuracy") == "3 eligible configs with probe_accuracy, and 4 are needed"
    assert obstacle(known["eight"], "probe_accuracy") is None
    assert obstacle(known["eight"], "final_loss") == "final_loss is the same for all configs"
    lacking = "3 eligible configs with test_accuracy, and 4 are needed (5 of 8 eligible configs are not scored"
    assert str(obstacle(known["eight"], "test_accuracy")).startswith(lacking)


def test_the_report_is_a_table_and_an_arrow_file(made: Made, run: Run, tmp_path: Path) -> None:
    uri = made(("semi", CONFIGS, by_lr), ("grid", [{"w": 0.0}, {"w": 1.0}], lambda params, seed: {}))
    printed, _ = run(importance.main, uri)
    told = [row for row in rows(tmp_path) if row["left_out"] is None]
    assert {row["key"]: row["scale"] for row in told} == {
        "optimizer.lr": "logarithmic", "method.w": "linear", "kind": "categorical",
    }  # fmt: skip
    assert {(row["stage"], row["column"], row["num_configs"]) for row in told} == {("semi", "probe_accuracy", 30)}
    [left_out] = [row for row in rows(tmp_path) if row["left_out"] is not None]
    assert (left_out["stage"], left_out["share"]) == ("grid", None)
    line = next(line for line in printed.split("\n") if "lr" in line)
    assert line.split()[-2:] == [f"{100 * told[0]['share']:.1f}", f"{100 * told[0]['best_share']:.1f}"]
    assert {row["num_best"] for row in told} == {5}
    assert "left out: swept/grid: w alone was searched" in printed
    assert (tmp_path / "out" / "importance.txt").read_text().split("\n")[0] == importance.NOTE


def test_a_folder_without_anything_to_tell_is_one_message(made: Made, fails: Callable[..., str]) -> None:
    uri = made(("semi", [{"w": 0.0}, {"w": 1.0}], lambda params, seed: {}))
    assert "swept/semi: w alone was searched" in fails(importance.main, uri)


def test_neither_torch_nor_ray_is_loaded_by_it(made: Made, tmp_path: Path) -> None:
    uri = made(("semi", CONFIGS[:6], by_lr))
    code = (
        "import sys; from raysl.reports.importance import main; main(sys.argv[1:]);"
        "print([name for name in ('torch', 'ray', 'mlflow') if name in sys.modules], 'optuna' in sys.modules)"
    )
    command = [sys.executable, "-c", code, uri, "--out", str(tmp_path / "out")]
    root = Path(importance.__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split("\n")[-2] == "[] True"
    assert {line.partition(" ")[0] for line in done.stderr.splitlines()} == {"wrote"}
