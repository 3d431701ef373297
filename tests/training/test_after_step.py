"""What a method is told of each step, and what it makes follow one: when, of what, on which rank, across a kill."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from gloo import spawn
from torch import Tensor

from raysl.methods import rotation
from raysl.methods._method import Losses, Step, View
from raysl.methods.byol import Byol
from raysl.methods.rotation import Rotation
from raysl.methods.semi import Semi
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec
from raysl.training.step_benchmark import measure

MakeSpec = Callable[..., TrialSpec]
BYOL: dict[str, Any] = {"name": "byol", "momentum": 0.5, "hidden": 32, "projector": 16, "min_crop": 0.5}
STEPS = [step / 12 for step in range(12)]  # 4 epochs of 3 batches: 64 images in batches of 22 at most


@pytest.fixture
def spec(make_spec: MakeSpec) -> TrialSpec:
    return make_spec(method=BYOL, batch_size=22)


class Recorded(list[tuple[Step, Tensor]]):
    """The calls of `Byol.after_step`, which does its work all the same: the step, and an online weight at the time.

    seen: the steps that `forward` was called with.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.seen: list[Step] = []
        forward, after_step = Byol.forward, Byol.after_step

        def begun(method: Byol, views: Mapping[str, View], step: Step) -> Losses:
            self.seen.append(step)
            return forward(method, views, step)

        def recorded(method: Byol, step: Step, outputs: Mapping[str, Tensor]) -> None:
            self.append((step, method.projector[0].weight.detach().clone()))
            after_step(method, step, outputs)

        monkeypatch.setattr(Byol, "forward", begun)
        monkeypatch.setattr(Byol, "after_step", recorded)

    @property
    def progress(self) -> list[float]:
        assert self.seen == [step for step, _ in self]
        return [step.progress for step in self.seen]


class Recalling(Rotation):
    """Predicts rotations, and hands on which were drawn, and its loss, to what follows the step."""

    calls: ClassVar[list[tuple[Step, Mapping[str, Tensor]]]] = []

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        losses, drawn = super().forward(views, step), views["rotated"].aug_params
        assert drawn is not None
        return losses._replace(outputs={"drawn": drawn, "loss": losses.total})

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.calls.append((step, outputs))


def recalled(spec_json: str, folder: str) -> list[tuple[int, list[int], float]]:
    """Return the number, the turns and the loss that follow each step of an epoch on this rank."""
    Recalling.calls.clear()
    loop = Loop(TrialSpec.model_validate_json(spec_json), Store.open(folder, create=True), Execution())
    loop.train_epoch(loop.wrapped())
    return [(step.number, given["drawn"].tolist(), float(given["loss"])) for step, given in Recalling.calls]


def on_each_rank(spec_json: str, folder: str) -> list[tuple[int, list[int], float]]:
    rotation.Rotation = Recalling  # type: ignore[misc]
    return recalled(spec_json, folder)


def numbers(row: TrialRow) -> list[Any]:
    return [
        row.status,
        row.final_loss,
        row.probe,
        [(e.epoch, e.lr, e.loss, e.terms) for e in row.curve],
    ]


def weights(store: Store, spec: TrialSpec) -> dict[str, Tensor]:
    state: dict[str, Tensor] = read_model(store, spec.id).tensors
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
    loop = Loop(make_spec(method={"name": "semi", "pretext": BYOL}, batch_size=22), store, Execution())
    assert isinstance(loop.method, Semi)
    loop.train_epoch(loop.wrapped())
    assert calls.progress == pytest.approx(STEPS[:3], abs=1e-12)


def test_outputs_of_forward_follow_its_step_without_gradient(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "Rotation", Recalling)
    spec = make_spec(method={"name": "rotation", "copies": 1}, batch_size=22)
    found = recalled(spec.model_dump_json(), store.uri)
    loop = Loop(spec, store, Execution())
    expected = [loop.feed.make_views(batch, 0)["rotated"].aug_params for batch in loop.feed.batches(0, 0, 1)]
    assert [drawn for _, drawn, _ in found] == [drawn.tolist() for drawn in expected if drawn is not None]
    assert [number for number, *_ in found] == [0, 1, 2]
    assert not any(value.requires_grad for _, given in Recalling.calls for value in given.values())


def test_outputs_are_those_of_the_same_rank(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(method={"name": "rotation", "copies": 1}, batch_size=22).model_dump_json()
    found = spawn(on_each_rank, spec, str(tmp_path / "two"))
    monkeypatch.setattr(rotation, "Rotation", Recalling)
    alone = recalled(spec, str(tmp_path / "one"))
    for rank, own in enumerate(found):
        assert [step[:2] for step in own] == [(number, drawn[rank::2]) for number, drawn, _ in alone]
    # A rank's loss is its share of the mean.
    for (*_, one), (*_, other), (*_, whole) in zip(*found, alone, strict=True):
        assert (one + other) / 2 == pytest.approx(whole, rel=1e-3)
        assert one != other


def test_the_pretext_of_a_semi_supervised_method_gets_its_own_outputs(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "Rotation", Recalling)
    pretext = {"name": "rotation", "copies": 1}
    alone, nested = (
        recalled(make_spec(method=method, batch_size=22).model_dump_json(), store.uri)
        for method in (pretext, {"name": "semi", "pretext": pretext})
    )
    assert [step[:2] for step in nested] == [step[:2] for step in alone]
    assert all(given.keys() == {"drawn", "loss"} for _, given in Recalling.calls)


def test_measured_steps_are_with_it(spec: TrialSpec, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Recorded(monkeypatch)
    assert measure(spec, store, Execution(), steps=1).steps == 3
    assert calls.progress == pytest.approx(STEPS[:2], abs=1e-12)
