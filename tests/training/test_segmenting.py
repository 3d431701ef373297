"""Trials that learn masks: what is measured of them, by one process and by two."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gloo import spawn
from scenes import CLASSES, experiment

import raysl
from raysl.data.storage.decoded_cache import load_test_masks
from raysl.data.storage.scan import inspect, resolve
from raysl.methods import settings_model
from raysl.methods._method import Method
from raysl.results.confusion import IGNORED, class_ious, confusion_matrix, mean_iou
from raysl.results.records.features import has_features, read_masks
from raysl.results.records.rows import TrialRow, read_row, read_score
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training import segmenting
from raysl.training.building import trained_method
from raysl.training.input_pipeline import Feed
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.settings import SGD
from raysl.training.spec import TrialSpec
from raysl.training.tasks import task_of
from raysl.training.trial import run_trial


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    file = tmp_path / "scenes.yaml"
    file.write_text(experiment(tmp_path))
    searched = raysl.load(file)
    data = resolve(searched.data, inspect(searched.data))
    return expand(searched, searched.stages[0], {"segmentation": data}, {})[0].spec


def _rank(spec_json: str, folder: str) -> None:
    spec, store = TrialSpec.model_validate_json(spec_json), Store.open(folder, create=True)
    run_trial(spec, store, Execution(), lambda epoch: None)


def test_two_ranks_have_the_losses_and_the_mean_iou_of_one(
    spec: TrialSpec, store: Store, train: Callable[..., TrialRow], tmp_path: Path
) -> None:
    """Images are of unequal sizes.  Adam takes steps of one size of what rounding leaves; plain descent does not."""
    descent = spec.model_copy(update={"optimizer": SGD(name="sgd", lr=0.1)})
    row = train(descent, store)
    assert row.curve[-1].loss < 0.7 * row.curve[0].loss
    two = Store.open(str(tmp_path / "two"), create=True)
    spawn(_rank, descent.model_dump_json(), two.uri)
    other = read_row(two, descent.id)
    assert other is not None
    assert other.workers == 2
    assert [epoch.loss for epoch in other.curve] == pytest.approx([epoch.loss for epoch in row.curve], rel=1e-3)
    assert other.probe["mean_iou"] == pytest.approx(row.probe["mean_iou"], abs=0.01)


def test_a_killed_trial_goes_on_to_the_same_numbers(
    spec: TrialSpec, store: Store, train: Callable[..., TrialRow], kill: Callable[..., None], tmp_path: Path
) -> None:
    whole = train(spec, Store.open(str(tmp_path / "whole"), create=True))
    kill(spec, store, 1)
    again = train(spec, store)
    assert [epoch.loss for epoch in again.curve] == [epoch.loss for epoch in whole.curve]
    assert again.probe == whole.probe


def test_the_score_is_the_mean_iou_of_all_pixels_of_the_test_set(
    spec: TrialSpec, store: Store, train: Callable[..., TrialRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = load_test_masks(spec.data)[1].shape[1]
    monkeypatch.setattr(segmenting, "PIXELS", 2 * edge**2)  # of a batch: there are several
    row = train(spec, store)
    assert row.probe["mean_iou"] > 0.6
    score = score_trial(spec, store, Execution(), keep_features=True)
    images, masks = load_test_masks(spec.data)
    method = trained_method(spec, store).eval()
    feed = Feed(spec, method.views(), torch.device("cpu"))
    with torch.no_grad():  # image by image
        predicted = [method.segment(feed.normalise(feed.normalise.to_float(one[None].copy())))[0] for one in images]
        known = [
            method.segment(feed.normalise(feed.normalise.to_float(feed.arrays.images[[n]])))[0] for n in feed.labelled
        ]
    assert len(feed.labelled) > 2
    assert feed.arrays.masks is not None
    found = np.stack([logits.argmax(0).numpy().astype(np.uint8) for logits in known])
    learnt = confusion_matrix(feed.arrays.masks.classes[feed.labelled], found, 3)
    assert row.probe["mean_iou"] == pytest.approx(mean_iou(learnt))
    confusion = np.zeros((3, 3), np.int64)
    for truth, logits in zip(masks, predicted, strict=True):
        found = logits.argmax(0).numpy()
        for row, column in zip(truth[truth != IGNORED], found[truth != IGNORED], strict=True):
            confusion[row, column] += 1
    kept = read_masks(store, spec.id)
    assert kept.class_names == CLASSES
    assert kept.confusion.tolist() == confusion.tolist()
    assert score.metrics == {"mean_iou": pytest.approx(np.mean(class_ious(confusion)))}
    assert score.num_test == len(images)
    each = [
        mean_iou(confusion_matrix(truth, logits.argmax(0).numpy().astype(np.uint8), 3))
        for truth, logits in zip(masks, predicted, strict=True)
    ]
    best, _, worst = kept.places
    assert each[best] == max(each)
    assert each[worst] == min(each)
    np.testing.assert_array_equal(kept.images, images[kept.places])
    np.testing.assert_array_equal(kept.truths, masks[kept.places])
    np.testing.assert_array_equal(kept.predicted[0], predicted[best].argmax(0).numpy())


def test_a_pretext_on_masks_has_a_row_and_a_score_without_metrics(
    spec: TrialSpec, store: Store, train: Callable[..., TrialRow]
) -> None:
    """What it has learnt is measured by the stages that start from it."""
    method = settings_model("byol")(name="byol", hidden=32, projector=16).model_dump()
    pretext = spec.model_copy(update={"method": method, "probe": None, "epochs": 1})
    assert train(pretext, store).probe == {}
    score = score_trial(pretext, store, Execution(), keep_features=True)
    assert read_score(store, pretext.id) == score
    assert score.metrics == {}
    assert has_features(store, pretext.id)
    later = spec.model_copy(update={"start": pretext.id, "epochs": 1})
    assert "mean_iou" in train(later, store).probe


def test_logits_that_are_not_finite_are_a_divergence(
    spec: TrialSpec, store: Store, train: Callable[..., TrialRow]
) -> None:
    train(spec, store)
    method: Method = trained_method(spec, store)
    with torch.no_grad():
        method.encoder.backbone.stem[0].weight.fill_(torch.nan)  # type: ignore[index, union-attr]
    ending, metrics = task_of(spec).probe(method, Feed(spec, method.views(), torch.device("cpu")))
    assert ending is not None
    assert ending.status == "diverged"
    assert metrics == {}
