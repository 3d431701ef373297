"""Plans from Python: what the command prints, as numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import Finished, write

import raysl


def test_trials_and_steps_are_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plan = raysl.plan(write(tmp_path), tmp_path / "nowhere", steps=1)
    [experiment] = plan.experiments
    shapes = [(shape.stage, shape.num_trials, shape.done, shape.epochs, shape.steps) for shape in experiment.shapes]
    assert shapes == [("semi", 4, 0, 4, 4), ("finetune", 2, 0, 3, 2)]
    assert (plan.num_trials, plan.usd, plan.missing) == (6, None, ())
    assert plan.seconds == experiment.seconds == sum(shape.seconds for shape in experiment.shapes) > 0
    assert sum(plan.needs.values()) == pytest.approx(sum(shape.trial_seconds for shape in experiment.shapes))
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_what_the_results_hold_is_left_out(finished: Callable[..., Finished]) -> None:
    done = finished()
    plan = raysl.plan(done.file, done.results, steps=1)
    assert [(shape.num_trials, shape.done) for shape in plan.experiments[0].shapes] == [(4, 4), (2, 2)]
    assert plan.seconds == 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": ({"steps": 0}, "--steps 0"),
    "no experiment": ({"experiment": 3}, "experiment: 3"),
    "more than there is": ({"overrides": {"resources.gpus": 64}}, "64 GPU(s)"),
    "an address where nobody is": ({"address": "127.0.0.1:1"}, "--address 127.0.0.1:1: no Ray cluster answers there"),
    "a cluster file that is not there": ({"cluster": "c.yaml"}, "--cluster c.yaml"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_a_user_error(kind: str, tmp_path: Path) -> None:
    given, expected = REFUSED[kind]
    experiment = raysl.load(write(tmp_path), overrides=given.get("overrides", ()))
    with pytest.raises(raysl.UserError) as refused:
        raysl.plan(**{"experiment": experiment} | {key: value for key, value in given.items() if key != "overrides"})
    assert expected in str(refused.value)
