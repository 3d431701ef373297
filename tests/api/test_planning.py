"""Plans from Python: what the command prints, as numbers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median, median_low
from typing import Any

import pytest
from tiny import Finished, write

import raysl
from raysl.api.trial_times import TrialTimes
from raysl.results.records.rows import read_rows, write_row
from raysl.results.storage.store import Store


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


def test_times_of_finished_trials_stand_for_steps(finished: Callable[..., Finished], tmp_path: Path) -> None:
    done = finished()
    trained = [row for row in read_rows(Store.open(str(done.results), create=False)).values() if row.method == "semi"]
    like = ["seeds=[7, 8, 9]", "stages.semi.epochs=6", "stages.semi.optimizer.lr=0.5"]
    plan = raysl.plan(raysl.load(done.file, overrides=like), tmp_path / "nowhere", measured=done.results)
    semi, finetune = plan.experiments[0].shapes
    assert semi.times
    assert finetune.times
    assert semi.times.num_trials == 4
    assert finetune.times.num_trials == 2
    typical = [median_low([epoch.seconds for epoch in row.curve][1:]) for row in trained]
    first = [max(row.curve[0].seconds - usual, 0.0) for row, usual in zip(trained, typical, strict=True)]
    other = median((row.other_seconds or math.nan) + more for row, more in zip(trained, first, strict=True))
    epoch = median(typical)
    assert semi.step_seconds * semi.steps == pytest.approx(epoch)
    assert semi.trial_seconds == pytest.approx(3 * (6 * epoch + other))


def test_times_are_of_the_last_device(finished: Callable[..., Finished], tmp_path: Path) -> None:
    done = finished()
    store = Store.open(str(tmp_path / "copied"), create=True)
    rows = [*read_rows(Store.open(str(done.results), create=False)).values()]
    last = max(row.finished_at for row in rows)
    for row in rows:
        write_row(store, row)
    of_semi, short = [row for row in rows if row.method == "semi"][:2]
    slow = [replace(epoch, seconds=130.0 if epoch.epoch == 0 else 100.0) for epoch in of_semi.curve]
    write_row(store, replace(of_semi, device="NVIDIA H200", curve=slow, other_seconds=21.0, finished_at=last + 1))
    alone = [replace(epoch, seconds=999.0) for epoch in short.curve[:1]]  # nobody knows how long a second one takes
    write_row(store, replace(short, device="NVIDIA H200", curve=alone))
    semi, finetune = raysl.plan(done.file, tmp_path / "nowhere", measured=store.uri).experiments[0].shapes
    assert semi.times == TrialTimes(100.0, 51.0, "NVIDIA H200", 1, 4)
    assert semi.trial_seconds == pytest.approx(4 * 451)
    assert finetune.times is not None
    assert finetune.times.device.startswith("cpu")


def test_rows_of_elsewhere_and_of_earlier_versions_give_times(
    finished: Callable[..., Finished], tmp_path: Path
) -> None:
    """Weights and images lie elsewhere, defaults that came later are not written, and keys have another order."""
    store = Store.open(str(tmp_path / "copied"), create=True)
    for row in read_rows(Store.open(str(finished().results), create=False)).values():
        spec = json.loads(row.spec)
        spec["method"] = {key: value for key, value in reversed(spec["method"].items()) if key != "views"}
        spec["data"] |= {"digest": "elsewhere", "source": "parquet:/there/digits.parquet"}
        spec["model"]["weights"] = {"source": "file:/there/weights.safetensors", "digest": "0" * 64}
        write_row(store, replace(row, spec=json.dumps(spec), other_seconds=None))
    for shape in raysl.plan(write(tmp_path), tmp_path / "nowhere", measured=store.uri).experiments[0].shapes:
        assert shape.times is not None
        assert shape.times.num_epochs == shape.epochs


def test_criteria_are_measured_here_whatever_the_rows_have(finished: Callable[..., Finished]) -> None:
    done = finished()
    experiment = raysl.load(done.file, overrides=CRITERIA)
    [semi, _] = raysl.plan(experiment, done.results, measured=done.results).experiments[0].shapes
    assert semi.times is not None
    trained = semi.epochs * semi.steps * semi.step_seconds + semi.times.other_seconds
    assert semi.criteria_seconds > 0
    assert semi.trial_seconds == pytest.approx(2 * trained + 4 * semi.criteria_seconds)


@pytest.mark.parametrize("other", ["stages.semi.batch_size=8", "resources.workers=2", "model.features=8"])
def test_trials_whose_steps_cost_something_else_give_no_times(
    other: str, finished: Callable[..., Finished], tmp_path: Path
) -> None:
    done = finished()
    experiment = raysl.load(done.file, overrides=[other])
    semi = raysl.plan(experiment, tmp_path / "nowhere", steps=1, measured=done.results).experiments[0].shapes[0]
    assert semi.times is None
    assert semi.step_seconds > 0


def test_trials_that_took_their_weights_from_another_give_no_times(
    finished: Callable[..., Finished], tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "copied"), create=True)
    for row in read_rows(Store.open(str(finished().results), create=False)).values():
        write_row(store, replace(row, weights_of="another"))
    with pytest.raises(raysl.UserError, match="none of its 6 trials was trained there to its end"):
        raysl.plan(write(tmp_path), tmp_path / "nowhere", measured=store.uri)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": ({"steps": 0}, "--steps 0"),
    "no experiment": ({"experiment": 3}, "experiment: 3"),
    "more than there is": ({"overrides": {"resources.gpus": 64}}, "64 GPU(s)"),
    "an address where nobody is": ({"address": "127.0.0.1:1"}, "--address 127.0.0.1:1: no Ray cluster answers there"),
    "a measured folder that is not there": ({"measured": "nowhere"}, "--measured: results folder"),
    "a cluster file that is not there": ({"cluster": "c.yaml"}, "--cluster c.yaml"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_a_user_error(kind: str, tmp_path: Path) -> None:
    given, expected = REFUSED[kind]
    experiment = raysl.load(write(tmp_path), overrides=given.get("overrides", ()))
    with pytest.raises(raysl.UserError) as refused:
        raysl.plan(**{"experiment": experiment} | {key: value for key, value in given.items() if key != "overrides"})
    assert expected in str(refused.value)
