"""Trials that end early: collapsed, or stopped early by a comparison with their cohort."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raysl.methods import simsiam
from raysl.methods._method import Losses, Step
from raysl.methods.semi import Semi
from raysl.results.records.rows import Epoch, TrialRow, read_row
from raysl.results.storage.store import Store
from raysl.training import checkpoint
from raysl.training.early_stopping import EarlyStoppingCohort
from raysl.training.loop import Loop, collapse_below
from raysl.training.paths import checkpoint_path, cohort_path, model_path
from raysl.training.process import Execution
from raysl.training.settings import Asha, MedianRule
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
Kill = Callable[..., None]

SIAMESE = {"name": "simsiam", "projector": 32, "predictor": 8, "min_crop": 0.2, "p_blur": 0.0}


@pytest.fixture
def cohort(store: Store) -> EarlyStoppingCohort:
    return EarlyStoppingCohort(store, "s0-0", Asha(scheduler="asha", grace=1, reduction=2))


def spreading(monkeypatch: pytest.MonkeyPatch, *spreads: float) -> None:
    """Let the semi-supervised method's embeddings be so far apart, batch by batch, in turn."""
    forward, calls = Semi.forward, iter(spreads * 100)

    def spread(self: Semi, views: Any, step: Step) -> Losses:
        return forward(self, views, step)._replace(spread=torch.tensor(next(calls)))

    monkeypatch.setattr(Semi, "forward", spread)


def test_the_threshold_follows_the_batch() -> None:
    # What batch normalisation leaves of a collapse is 2 / sqrt(B).
    assert collapse_below(512) == pytest.approx(4 / 512**0.5)
    assert collapse_below(10**6) == 0.05
    assert collapse_below(4) == 0.5


def test_the_mean_spread_of_an_epoch_is_kept(
    make_spec: MakeSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 64 images in batches of 22, 21 and 21.
    spreading(monkeypatch, 0.7, 0.8, 0.9)
    row = train(make_spec("stages.semi.batch_size=22", "stages.semi.epochs=2"), store)
    expected = (22 * 0.7 + 21 * 0.8 + 21 * 0.9) / 64
    assert [epoch.terms["spread"] for epoch in row.curve] == pytest.approx([expected] * 2)
    assert row.status == "finished"
    assert row.final_loss == pytest.approx(row.curve[-1].terms["supervised"] + row.curve[-1].terms["rotation"])


def test_a_trial_without_embeddings_has_no_spread(make_spec: MakeSpec, store: Store, train: Train) -> None:
    row = train(make_spec(stage="finetune"), store)
    assert set(row.curve[0].terms) == {"supervised"}


def test_a_collapsed_trial_ends_and_says_so(
    make_spec: MakeSpec, store: Store, train: Train, cohort: EarlyStoppingCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    spreading(monkeypatch, *[0.9] * 2, *[0.01, 0.03], *[0.9] * 4)
    row = train(spec, store, 1, 2, cohort=cohort)
    assert (row.status, row.epochs, row.final_loss, row.probe.get("accuracy")) == ("collapsed", 2, None, None)
    assert row.reason == "spread 0.02 in epoch 2 of 4, below 0.5"
    assert len(row.curve) == 2
    assert store.list("models", "") == [f"{spec.id}@1.safetensors"]
    assert not store.exists(checkpoint_path(spec.id))
    # Its losses are the lowest of all, and are no measure of others.
    assert not store.exists(cohort_path(cohort.name, spec.id))
    seen: list[int] = []
    assert train(spec, store, 1, 2, seen=seen) == row
    assert seen == []


def test_a_collapse_in_the_last_epoch_counts(
    make_spec: MakeSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreading(monkeypatch, *[0.9] * 2, *[0.0] * 2)
    row = train(make_spec("stages.semi.epochs=2"), store)
    assert (row.status, row.epochs, row.final_loss) == ("collapsed", 2, None)


def test_a_loss_that_is_not_finite_comes_before_a_collapse(make_spec: MakeSpec, store: Store) -> None:
    loop = Loop(make_spec(), store, Execution())
    loop.curve.append(Epoch(0, 0.1, float("nan"), {"spread": 0.0}, 0.0))
    assert loop.ending is not None
    assert loop.ending.status == "diverged"


def test_a_batch_has_no_more_images_than_there_are(make_spec: MakeSpec, store: Store) -> None:
    loop = Loop(make_spec("stages.semi.batch_size=512", "data.unlabelled=128"), store, Execution())
    loop.curve.append(Epoch(0, 0.1, 1.0, {"spread": 0.3}, 0.0))
    assert loop.ending is not None
    assert loop.ending.reason == "spread 0.3 in epoch 1 of 4, below 0.354"


@pytest.mark.slow
def test_simsiam_without_its_stop_gradient_collapses(
    make_spec: MakeSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"method": SIAMESE, "epochs": 12, "batch_size": 128}
    spec = make_spec("stages.semi.optimizer={name: sgd, lr: 0.2}", "data.unlabelled=1280", **changes)
    sound = train(spec, store)
    assert sound.status == "finished"
    assert min(epoch.terms["spread"] for epoch in sound.curve) > 0.8

    def leaky(z1: torch.Tensor, z2: torch.Tensor, p1: torch.Tensor, p2: torch.Tensor) -> torch.Tensor:
        return (simsiam.negative_cosine(p1, z2) + simsiam.negative_cosine(p2, z1)) / 2

    monkeypatch.setattr(simsiam, "siamese_loss", leaky)
    row = train(spec.model_copy(update={"epochs": 40}), store)
    assert row.status == "collapsed"
    assert row.epochs < 40


def record_peers(cohort: EarlyStoppingCohort, *losses: float, epochs: int = 1) -> None:
    for number, loss in enumerate(losses):
        cohort.record(f"peer{number}", [loss] * epochs)


def test_a_hopeless_trial_is_stopped(
    make_spec: MakeSpec, store: Store, train: Train, cohort: EarlyStoppingCohort
) -> None:
    spec = make_spec()
    record_peers(cohort, 0.1, 0.2, 0.3, epochs=2)
    row = train(spec, store, 1, cohort=cohort)
    loss = row.curve[0].loss
    assert (row.status, row.epochs, row.final_loss, row.probe.get("accuracy")) == ("stopped", 1, None, None)
    assert row.reason == f"asha: loss {loss:.6g} after epoch 1, the lowest 1/2 of 3 had at most 0.2"
    assert read_row(store, spec.id) == row
    assert store.list("models", "") == store.list("checkpoints", ".pt") == []
    assert cohort.reason("later", [loss + 1]) is not None  # its own loss is there for others
    seen: list[int] = []
    assert train(spec, store, 1, cohort=cohort, seen=seen) == row
    assert seen == []


def test_without_a_race_a_stopped_trial_is_trained_to_its_end(
    make_spec: MakeSpec, store: Store, train: Train, cohort: EarlyStoppingCohort, tmp_path: Path
) -> None:
    spec = make_spec("stages.semi.epochs=2")
    record_peers(cohort, 0.1)
    assert train(spec, store, cohort=cohort).status == "stopped"
    row = train(spec, store)
    assert (row.status, row.epochs) == ("finished", 2)
    assert read_row(store, spec.id) == row
    assert row.final_loss == train(spec, Store.open(str(tmp_path / "other"), create=True)).final_loss


def test_a_race_that_nobody_leads_changes_no_number(
    make_spec: MakeSpec, store: Store, train: Train, cohort: EarlyStoppingCohort, tmp_path: Path
) -> None:
    spec = make_spec("stages.semi.epochs=2")
    record_peers(cohort, 99.0, epochs=2)
    raced, alone = train(spec, store, cohort=cohort), train(spec, Store.open(str(tmp_path / "other"), create=True))
    assert (raced.final_loss, raced.probe.get("accuracy")) == (alone.final_loss, alone.probe.get("accuracy"))
    written = json.loads(store.read(cohort_path(cohort.name, spec.id)))["content"]
    assert written == [epoch.loss for epoch in raced.curve]  # the last too, for those that come to it later


def test_the_last_epoch_stops_no_trial(
    make_spec: MakeSpec, store: Store, train: Train, cohort: EarlyStoppingCohort
) -> None:
    record_peers(cohort, 99.0)
    for number in range(3):
        cohort.record(f"better{number}", [99.0, 0.0])
    assert train(make_spec("stages.semi.epochs=2"), store, cohort=cohort).status == "finished"


def test_a_finished_trial_that_is_trained_for_its_model_is_not_stopped(
    make_spec: MakeSpec, store: Store, train: Train, cohort: EarlyStoppingCohort
) -> None:
    spec = make_spec("stages.semi.epochs=2")
    row = train(spec, store)
    store.delete(model_path(spec.id))
    record_peers(cohort, 0.0, 0.0)
    assert train(spec, store, cohort=cohort) == row
    assert store.exists(model_path(spec.id))


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_trial_is_stopped_where_it_would_have_been(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill, after: int
) -> None:
    """At epoch 3, whether it is killed before or goes on after it was killed at it."""
    spec = make_spec()
    cohort = EarlyStoppingCohort(store, "s0-0", MedianRule(scheduler="median", grace=3, min_peers=1))
    record_peers(cohort, 0.0, epochs=4)
    kill(spec, store, after, cohort=cohort)
    assert len(checkpoint.load(store, checkpoint_path(spec.id))["curve"]) == after
    seen: list[int] = []
    row = train(spec, store, cohort=cohort, seen=seen)
    assert (row.status, row.epochs, seen) == ("stopped", 3, list(range(after, 3)))


def test_no_checkpoint_is_past_the_epoch_that_stops_a_trial(
    make_spec: MakeSpec, store: Store, train: Train, kill: Kill, cohort: EarlyStoppingCohort
) -> None:
    spec = make_spec()
    record_peers(cohort, 0.0, epochs=4)
    kill(spec, store, 1, cohort=cohort)  # just after the decision, before the row
    assert not store.exists(checkpoint_path(spec.id))
    assert read_row(store, spec.id) is None
    assert train(spec, store, cohort=cohort).status == "stopped"
