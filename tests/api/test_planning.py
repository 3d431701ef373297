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
    assert shapes == [("semi", 4, 0, 4, 2), ("finetune", 2, 0, 3, 2)]
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


CRITERIA = ["stages.semi.criteria=[lidar, ami]"]


def test_the_criteria_of_each_trial_are_counted(tmp_path: Path) -> None:
    experiment = raysl.load(write(tmp_path), overrides=CRITERIA)
    plan = raysl.plan(experiment, tmp_path / "nowhere", steps=1)
    semi, finetune = plan.experiments[0].shapes
    assert semi.criteria_seconds > finetune.criteria_seconds == 0
    trained = semi.epochs * semi.steps * semi.step_seconds
    assert semi.trial_seconds == pytest.approx(4 * (trained + semi.criteria_seconds))
    assert semi.seconds == pytest.approx(semi.trial_seconds / min(4, plan.experiments[0].capacity))


def test_trials_of_which_only_criteria_are_missing_are_not_trained(finished: Callable[..., Finished]) -> None:
    done = finished()
    experiment = raysl.load(done.file, overrides=CRITERIA)
    [semi, _] = raysl.plan(experiment, done.results, steps=1).experiments[0].shapes
    trained = semi.epochs * semi.steps * semi.step_seconds
    # The folder has the models of the selected config alone: its two trials are measured, the others trained again.
    assert semi.done == 2
    assert semi.trial_seconds == pytest.approx(2 * trained + 4 * semi.criteria_seconds)


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
