"""A learning rate and a weight decay of a method's own parameters: under a schedule, after a kill, and nested."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from raysl.methods import rotation, supervised
from raysl.methods._method import ParameterGroup
from raysl.methods.rotation import Rotation
from raysl.methods.supervised import Supervised
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.process import Execution
from raysl.training.save_resume import resume
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
LR, DECAY = 10.0, 0.5
COSINE = {"name": "cosine", "warmup": 1.0}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    name: {"name": name, "lr": 0.01, "weight_decay": 0.1} for name in ("sgd", "adam", "adamw", "lars")
}


class Faster(Supervised):
    """Supervised training whose classifier learns faster, and decays less."""

    whole: ClassVar[bool] = False  # everything does

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        parameters = self.parameters() if self.whole else self.classifier.parameters()
        return {"new": ParameterGroup([*parameters], LR, DECAY)}


class FasterRotation(Rotation):
    """A rotation with a group of its own."""

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return {"turns": ParameterGroup([*self.classifier.parameters()], 3.0)}


@pytest.fixture(params=OPTIMIZERS)
def spec(request: pytest.FixtureRequest, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> TrialSpec:
    """Return a trial of three epochs of two steps, for each optimizer."""
    monkeypatch.setattr(supervised, "Supervised", Faster)
    changes = {"optimizer": OPTIMIZERS[request.param], "schedule": COSINE, "start": None}
    made = make_spec(stage="finetune").model_copy(update=changes)
    return TrialSpec.model_validate(made.model_dump(warnings=False))


def rates(loop: Loop, epochs: int) -> list[dict[str, float]]:
    """Return the learning rates that the classifier's weight and the encoder's first one have at each step."""
    watched = {"new": loop.method.get_parameter("classifier.weight"), "rest": next(loop.method.encoder.parameters())}
    seen: list[dict[str, float]] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        seen.append({k: g["lr"] for k, p in watched.items() for g in groups if any(p is each for each in g["params"])})

    loop.optimizer.register_step_post_hook(note)
    for _ in range(epochs):
        loop.train_epoch(loop.wrapped())
    return seen


def test_the_factor_holds_at_each_step_of_the_schedule(spec: TrialSpec, store: Store) -> None:
    loop = Loop(spec, store, Execution())
    seen = rates(loop, 3)
    # Two steps of warm-up, of which the first has a rate of 0, and four of half a cosine.
    expected = [0.0, 0.5, *((1 + math.cos(math.pi * k / 4)) / 2 for k in range(4))]
    assert [each["rest"] for each in seen] == pytest.approx([0.01 * factor for factor in expected])
    assert [each["new"] for each in seen] == pytest.approx([0.1 * factor for factor in expected])
    # What is reported is the stage's.
    assert [epoch.lr for epoch in loop.curve] == pytest.approx([0.01 * factor for factor in expected[::2]])


def test_a_killed_trial_goes_on_with_its_factors(
    spec: TrialSpec, tmp_path: Path, store: Store, train: Train, kill: Callable[..., None]
) -> None:
    whole, killed = (Store.open(str(tmp_path / name), create=True) for name in ("whole", "killed"))
    undisturbed = train(spec, whole)
    kill(spec, killed, 2)
    loop = Loop(spec, killed, Execution())
    resume(loop)
    assert [each["new"] / each["rest"] for each in rates(loop, 1)] == pytest.approx([LR] * 2)
    decays = {group["weight_decay"] for group in loop.optimizer.param_groups}
    assert decays - {0.0} == {0.1, 0.1 * DECAY}
    assert train(spec, killed).final_loss == undisturbed.final_loss
    ends = [read_model(each, spec.id).tensors for each in (whole, killed)]
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_the_reported_rate_is_the_stages_where_all_is_in_groups(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "Supervised", Faster)
    monkeypatch.setattr(Faster, "whole", True)
    loop = Loop(make_spec(stage="finetune", start=None), store, Execution())
    assert loop.train_epoch(loop.wrapped()).lr == 0.01
    assert [group["lr"] for group in loop.optimizer.param_groups] == pytest.approx([0.1])


def test_groups_of_a_nested_method_are_the_outer_ones_too(
    make_spec: MakeSpec, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "Rotation", FasterRotation)
    loop = Loop(make_spec(), store, Execution())
    assert loop.method.parameter_groups().keys() == {"pretext.turns"}
    faster = [
        parameter for group in loop.optimizer.param_groups if group["lr"] > 0.002 for parameter in group["params"]
    ]
    wanted = loop.method.get_submodule("pretext.classifier").parameters()
    assert {id(parameter) for parameter in faster} == {id(parameter) for parameter in wanted}
