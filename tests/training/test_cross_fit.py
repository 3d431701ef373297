"""Trials that are trained without a fold of the labelled images, and measured on it."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raysl.data.storage.decoded_cache import TrainArrays, load
from raysl.methods._method import Method
from raysl.probes import knn, linear_svm
from raysl.probes.folds import accuracy
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training import classification, scoring
from raysl.training.building import build_method, trained_method
from raysl.training.classification import Classification
from raysl.training.features import extract_features, logits
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.spec import Fold, TrialSpec

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
FOLDS = 4
ALL = "data.unlabelled=1297"  # D_u holds every image of D_l
CPU = torch.device("cpu")
NOWHERE = Store.open(tempfile.gettempdir(), create=False)  # of models that are not started from


def fold(number: int) -> Fold:
    return Fold(number=number, of=FOLDS)


def feed_of(spec: TrialSpec) -> Feed:
    return Feed(spec, build_method(spec, 1, NOWHERE).views(), CPU)


def with_other_labels(spec: TrialSpec, places: np.ndarray) -> TrainArrays:
    arrays = load(spec.data)
    labels = arrays.labels.copy()
    labels[places] = (labels[places] + 1) % 10
    return replace(arrays, labels=labels)


def test_folds_part_the_labelled_images_and_nothing_else(make_spec: MakeSpec) -> None:
    spec = make_spec(ALL, seed=1)
    whole = feed_of(spec)
    parts = [feed_of(spec.model_copy(update={"fold": fold(number)})) for number in range(FOLDS)]
    held = np.concatenate([part.held_out for part in parts])
    assert len(whole.held_out) == 0
    assert sorted(held) == list(whole.labelled)
    for part in parts:
        assert sorted([*part.labelled, *part.held_out]) == list(whole.labelled)
        np.testing.assert_array_equal(part.unlabelled, whole.unlabelled)
        assert set(part.held_out) <= set(part.unlabelled)
        assert set(part.arrays.labels[part.labelled]) == set(part.arrays.labels[part.held_out]) == set(range(10))


def test_the_draw_of_the_labels_decides_the_folds(make_spec: MakeSpec) -> None:
    one, other = (make_spec(seed=seed, streams={"labels": 3}, fold=fold(0)) for seed in (0, 1))
    np.testing.assert_array_equal(feed_of(one).held_out, feed_of(other).held_out)
    assert set(feed_of(one).held_out) != set(feed_of(make_spec(seed=1, fold=fold(0))).held_out)


@pytest.mark.parametrize("stage", ["semi", "finetune"])
def test_no_batch_and_no_probe_image_is_of_the_fold(stage: str, make_spec: MakeSpec) -> None:
    feed = feed_of(make_spec(stage=stage, start=None, fold=fold(2)))
    seen = [feed.labelled[batch.rows["labelled"]] for epoch in range(3) for batch in feed.batches(epoch, 0, 1)]
    assert not set(np.concatenate(seen)) & set(feed.held_out)
    assert len(feed.probe_images()[1]) == len(feed.labelled) == 30


@pytest.mark.parametrize("overrides", [(), ("stages.semi.method={name: fixmatch}", "stages.semi.probe=classifier")])
def test_training_reads_no_label_of_the_fold(overrides: tuple[str, ...], make_spec: MakeSpec, store: Store) -> None:
    spec = make_spec(ALL, "stages.semi.epochs=1", *overrides, fold=fold(1))
    feed = feed_of(spec)

    def trained(places: np.ndarray) -> dict[str, torch.Tensor]:
        loop = Loop(spec, store, Execution())
        loop.feed.arrays = with_other_labels(spec, places)  # once the draw, which is balanced by these, is made
        loop.train_epoch(loop.wrapped())
        return {name: value.clone() for name, value in loop.method.state_dict().items()}

    plain, other, changed = trained(feed.labelled[:0]), trained(feed.held_out), trained(feed.labelled[:5])
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert not all(torch.equal(plain[name], changed[name]) for name in plain)


def expected(method: Method, feed: Feed, predict: Callable[..., Any]) -> float:
    encoder = method.evaluation().encoder
    (kept, labels), (held, truth) = feed.probe_images(), feed.held_out_images()
    own, others = (extract_features(encoder, images, feed.normalise) for images in (kept, held))
    return accuracy(predict(own, labels, others), truth)


@pytest.mark.parametrize("probe", ["linear_svm", "knn", "classifier"])
def test_the_row_has_the_accuracy_on_the_fold(probe: str, make_spec: MakeSpec, store: Store, train: Train) -> None:
    overrides = ["stages.semi.epochs=2", f"stages.semi.probe={probe}", "probes.knn={k: 5}"]
    spec = make_spec(*overrides, fold=fold(3))
    row = train(spec, store)
    method, feed = trained_method(spec, store), feed_of(spec)
    predict: dict[str, Callable[..., Any]] = {
        "linear_svm": lambda *known: linear_svm.predictions(*known, spec.probes.linear_svm),
        "knn": lambda *known: knn.predictions(*known, spec.probes.used),
        "classifier": lambda *_: logits(method, feed.held_out_images()[0], feed.normalise).argmax(axis=1),
    }
    assert row.probe == {"accuracy": expected(method, feed, predict[probe])}
    assert round(row.probe["accuracy"] * 10) == pytest.approx(row.probe["accuracy"] * 10)  # of 10 images


def test_images_of_the_fold_are_classified_without_the_attack(make_spec: MakeSpec) -> None:
    attack = "data.attack={name: one_pixel, probe: attacked}"
    feed = feed_of(make_spec(attack, fold=fold(0)))
    np.testing.assert_array_equal(feed.held_out_images()[0], feed.arrays.images[feed.held_out])
    assert (feed.labelled_images()[0] != feed.arrays.images[feed.labelled]).any()


def test_a_fold_reads_no_test_image_and_is_never_scored(
    make_spec: MakeSpec, store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(classification, "load_test", opened)
    spec = make_spec("stages.semi.epochs=1", fold=fold(0))
    assert train(spec, store).status == "finished"
    with pytest.raises(AssertionError, match="without a fold"):
        scoring.score_trial(spec, store, Execution())


def test_weights_that_diverge_in_the_last_step_have_no_accuracy(make_spec: MakeSpec) -> None:
    for probe in ("linear_svm", "classifier"):
        spec = make_spec(f"stages.semi.probe={probe}", fold=fold(0))
        method = build_method(spec, 1, NOWHERE)
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.fill_(torch.nan)
        ending, found = Classification().probe(method, feed_of(spec))
        assert ending is not None
        assert ending.status == "diverged"
        assert found == {}
