"""What a method makes follow each optimizer step: when, how far into the training, and across a kill."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raysl.methods.byol import Byol
from raysl.methods.semi import Semi
from raysl.results.rows import TrialRow
from raysl.results.store import Store
from raysl.training import checkpoint
from raysl.training.loop import Execution, Loop
from raysl.training.measure import measure
from raysl.training.paths import model_path
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
BYOL: dict[str, Any] = {"name": "byol", "momentum": 0.5, "hidden": 32, "projector": 16, "min_crop": 0.5}
STEPS = [step / 12 for step in range(12)]  # 4 epochs of 3 batches: 128 images in batches of 45 at most


@pytest.fixture
def spec(make_spec: MakeSpec) -> TrialSpec:
    return make_spec(method=BYOL, batch_size=45)


class Recorded(list[tuple[float, Tensor]]):
    """The calls of `Byol.after_step`, which does its work all the same: progress, and an online weight at the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        after_step = Byol.after_step

        def recorded(method: Byol, progress: float) -> None:
            self.append((progress, method.projector[0].weight.detach().clone()))
            after_step(method, progress)

        monkeypatch.setattr(Byol, "after_step", recorded)

    @property
    def progress(self) -> list[float]:
        return [progress for progress, _ in self]


def numbers(row: TrialRow) -> list[Any]:
    return [row.status, row.final_loss, row.probe_accuracy, [(e.epoch, e.lr, e.loss, e.terms) for e in row.curve]]


def weights(store: Store, spec: TrialSpec) -> dict[str, Tensor]:
    state: dict[str, Tensor] = checkpoint.load(store, model_path(spec.id))["method"]
    return state


def test_it_follows_each_step_of_the_optimizer(spec: TrialSpec, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Recorded(monkeypatch)
    loop = Loop(spec, store, Execution())
    first = loop.method.get_parameter("projector.0.weight").detach().clone()
    for _ in range(2):
        loop.train_epoch(loop.wrapped())
    assert calls.progress == pytest.approx(STEPS[:6], abs=1e-12)
    seen = [first, *(weight for _, weight in calls)]
    assert not any(torch.equal(before, after) for before, after in pairwise(seen))
    assert torch.equal(seen[-1], loop.method.get_parameter("projector.0.weight"))


def test_a_trial_killed_in_between_ends_with_the_numbers_and_the_target_of_an_undisturbed_one(
    spec: TrialSpec,
    tmp_path: Path,
    train: Callable[..., TrialRow],
    kill: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, killed = (Store.open(str(tmp_path / name), create=True) for name in ("whole", "killed"))
    undisturbed = train(spec, whole)
    kill(spec, killed, 2)
    calls = Recorded(monkeypatch)
    resumed = train(spec, killed)
    assert calls.progress == pytest.approx(STEPS[6:], abs=1e-12)
    assert resumed.status == "finished"
    assert numbers(resumed) == numbers(undisturbed)
    expected, found = weights(whole, spec), weights(killed, spec)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    # The target is in what is kept, and is no copy of the encoder any more.
    assert not torch.equal(found["target_encoder.head.0.weight"], found["encoder.head.0.weight"])
    assert score_trial(spec, killed, Execution()) == score_trial(spec, whole, Execution())


def test_target_starts_as_the_encoder_that_a_later_stage_takes_over(
    spec: TrialSpec, store: Store, make_spec: MakeSpec, train: Callable[..., TrialRow]
) -> None:
    train(spec, store)
    method = Loop(make_spec(method=BYOL, start=spec.id, seed=1), store, Execution()).method
    assert isinstance(method, Byol)
    learnt = weights(store, spec)
    for name, value in method.target_encoder.state_dict().items():
        assert torch.equal(value, learnt[f"encoder.{name}"]), name


def test_the_pretext_of_a_semi_supervised_method_is_told(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Recorded(monkeypatch)
    loop = Loop(make_spec(method={"name": "semi", "pretext": BYOL}, batch_size=45), store, Execution())
    assert isinstance(loop.method, Semi)
    loop.train_epoch(loop.wrapped())
    assert calls.progress == pytest.approx(STEPS[:3], abs=1e-12)


def test_measured_steps_are_with_it(spec: TrialSpec, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Recorded(monkeypatch)
    assert measure(spec, store, Execution(), steps=1).steps == 3
    assert len(calls) == 2
