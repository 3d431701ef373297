"""How many unlabelled images a batch has for each labelled one, and how many steps an epoch has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gloo import spawn

from raysl.results.records.rows import TrialRow, read_row
from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.model_file import read_model
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec
from raysl.training.step_benchmark import measure
from raysl.training.trial import run_trial

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
SGD = "stages.semi.optimizer={name: sgd, lr: 0.01, momentum: 0.0}"
SIZES = ["data.unlabelled=128", "stages.semi.batch_size=9", "stages.semi.unlabelled_ratio=3", "stages.semi.epochs=2"]
STEPS = "stages.semi.steps_per_epoch=3"


def numbers(row: TrialRow | None) -> list[Any]:
    assert row is not None
    return [
        row.status,
        row.final_loss,
        row.probe,
        [(e.epoch, e.lr, e.loss, e.terms) for e in row.curve],
    ]


@pytest.mark.parametrize(("more", "steps"), [([], 5), ([STEPS], 3)])
def test_views_are_of_so_many_images(make_spec: MakeSpec, store: Store, more: list[str], steps: int) -> None:
    loop = Loop(make_spec(*SIZES, *more), store, Execution())
    assert loop.steps == steps
    seen = [loop.feed.make_views(batch, 0) for batch in loop.feed.batches(0, 0, 1)]
    sizes = [(len(views["labelled"].images), len(views["rotated"].images)) for views in seen]
    # 128 images in five batches of 27 at most; or three full ones.
    assert sizes == ([(9, 27)] * 3 if more else [(9, 26)] * 3 + [(9, 25)] * 2)
    assert all(len(views["labelled"].labels) == 9 for views in seen if views["labelled"].labels is not None)
    assert loop.step_of(1, 0) == (steps, 2 * steps)
    assert measure(loop.spec, store, Execution(), steps=1).steps == steps


def test_a_killed_trial_goes_on_in_its_order(
    make_spec: MakeSpec, tmp_path: Path, train: Train, kill: Callable[..., None]
) -> None:
    spec = make_spec(*SIZES, STEPS)
    whole, killed = (Store.open(str(tmp_path / name), create=True) for name in ("whole", "killed"))
    undisturbed = train(spec, whole)
    kill(spec, killed, 1)
    assert numbers(train(spec, killed)) == numbers(undisturbed)
    ends = [read_model(each, spec.id).tensors for each in (whole, killed)]
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def _rank(specs: list[str], folder: str) -> None:
    for spec in specs:
        store = Store.open(folder, create=True)
        run_trial(TrialSpec.model_validate_json(spec), store, Execution(checkpoint_seconds=0.0), lambda epoch: None)


@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one_process(make_spec: MakeSpec, tmp_path: Path, train: Train) -> None:
    specs = [make_spec(SGD, *SIZES), make_spec(SGD, *SIZES, STEPS)]
    spawn(_rank, [spec.model_dump_json() for spec in specs], str(tmp_path / "two"))
    for spec in specs:
        alone = train(spec, Store.open(str(tmp_path / "one"), create=True))
        two = read_row(Store.open(str(tmp_path / "two"), create=False), spec.id)
        assert two is not None
        assert [e.loss for e in two.curve] == pytest.approx([e.loss for e in alone.curve], rel=1e-5)
