"""Trials that train nothing: the model that they start from is probed, and nothing else happens to it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn

from raysl.data.storage.decoded_cache import load_test
from raysl.probes import clustering, knn, linear_svm
from raysl.probes.settings import KNN, Clustering, FeatureProbe, LinearSVM, ProbesSettings
from raysl.results.records.features import read_features
from raysl.results.records.rows import TrialRow, read_row, read_rows, read_scores, write_row
from raysl.results.storage.store import Store
from raysl.training.building import build_method
from raysl.training.features import extract_features
from raysl.training.input_pipeline import Feed
from raysl.training.model_file import read_model, write_model
from raysl.training.paths import model_path
from raysl.training.process import Execution
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec
from raysl.training.step_benchmark import measure
from raysl.training.trial import run_trial

MakeSpec = Callable[..., TrialSpec]
Train = Callable[..., TrialRow]
NAMES: tuple[FeatureProbe, ...] = ("linear_svm", "knn", "clustering")
GIVEN = ProbesSettings(linear_svm=LinearSVM(C=0.5), knn=KNN(k=9, temperature=0.2, folds=3))
ROTATION = "stages.semi.method={name: rotation}"
NOTHING: Mapping[str, Any] = {"epochs": 0, "batch_size": 0, "optimizer": None, "method": {"name": "frozen"}}


def frozen(start: TrialSpec, probe: FeatureProbe, **changes: Any) -> TrialSpec:
    """Return a trial that probes what another one has learnt."""
    named = {"start": start.id, "probe": None if probe == "linear_svm" else probe, "probes": GIVEN.only(probe)}
    return TrialSpec.model_validate({**start.model_copy(update={**NOTHING, **named, **changes}).model_dump()})


@pytest.fixture
def start(make_spec: MakeSpec, store: Store, train: Train) -> TrialSpec:
    """Return a trained trial, its model after the first of three epochs kept too."""
    spec = make_spec("stages.semi.epochs=3", ROTATION, probes=GIVEN.only("linear_svm"))
    train(spec, store, 1)
    return spec


def features_of(start: TrialSpec, store: Store) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return what a trained trial makes of D_l and of the test set, with their labels."""
    method = build_method(start, 1, store)
    method.load_state_dict(read_model(store, start.id).tensors)
    feed = Feed(start, method.views(), torch.device("cpu"))
    images, labels = feed.labelled_images()
    test_images, test_labels = load_test(start.data)
    train, test = (extract_features(method.encoder, seen, feed.normalise) for seen in (images, test_images))
    return (train, labels), (test, test_labels)


def test_a_trial_that_trains_nothing_finishes_without_a_loss(start: TrialSpec, store: Store, train: Train) -> None:
    seen: list[int] = []
    row = train(frozen(start, "knn"), store, seen=seen)
    assert (row.status, row.reason, row.method) == ("finished", "", "frozen")
    assert (row.final_loss, row.epochs, row.curve, row.seconds, seen) == (None, 0, (), 0.0, [])
    assert row.num_parameters == sum(p.numel() for p in build_method(start, 1, store).encoder.parameters())
    assert row.probe.get("accuracy") is not None
    assert (row.other_seconds or 0) > 0  # it has no epochs, so this is all it takes
    assert read_row(store, row.trial_id) == row


def test_it_writes_no_model_and_leaves_that_of_its_start(start: TrialSpec, store: Store, train: Train) -> None:
    before = {name: store.read(f"models/{name}") for name in store.list("models", "")}
    for name in NAMES:
        train(frozen(start, name), store)
        score_trial(frozen(start, name), store, Execution(), keep_features=True)
    assert {name: store.read(f"models/{name}") for name in store.list("models", "")} == before
    assert store.list("checkpoints", ".pt") == []


def test_the_linear_svm_gives_the_numbers_of_the_start_itself(start: TrialSpec, store: Store, train: Train) -> None:
    own = read_rows(store)[start.id]
    row = train(frozen(start, "linear_svm"), store)
    assert row.probe.get("accuracy") == own.probe.get("accuracy")
    scores = [score_trial(spec, store, Execution()) for spec in (start, frozen(start, "linear_svm"))]
    assert scores[0].metrics["accuracy"] == scores[1].metrics["accuracy"]
    assert scores[0].probe == scores[1].probe == LinearSVM(C=0.5).model_dump_json()


def test_each_probe_measures_the_features_of_the_start(start: TrialSpec, store: Store, train: Train) -> None:
    labelled, test = features_of(start, store)
    expected = {
        "linear_svm": linear_svm.cross_validated_accuracy(*labelled, LinearSVM(C=0.5), 0),
        "knn": knn.cross_validated_accuracy(*labelled, KNN(k=9, temperature=0.2, folds=3), 0),
        "clustering": clustering.clustering_accuracy(*labelled, Clustering(), 0),
    }
    predicted = {
        "linear_svm": linear_svm.predictions(*labelled, test[0], LinearSVM(C=0.5)),
        "knn": knn.predictions(*labelled, test[0], KNN(k=9, temperature=0.2)),
        "clustering": clustering.matched_classes(*test, Clustering(), 0),
    }
    for name in NAMES:
        spec = frozen(start, name)
        assert train(spec, store).probe.get("accuracy") == expected[name]
        score = score_trial(spec, store, Execution(), keep_features=True)
        kept = read_features(store, spec.id)
        np.testing.assert_allclose(kept.features, test[0], rtol=1e-4, atol=1e-5)
        assert np.mean(kept.predicted == predicted[name]) > 0.99
        assert score.metrics["accuracy"] == np.mean(kept.predicted == test[1])
        assert json.loads(score.probe) == GIVEN.only(name).used.model_dump()
    assert len(set(expected.values())) == 3


@pytest.mark.parametrize("name", ["knn", "clustering"])
def test_a_trial_that_trains_may_be_measured_by_each_probe(
    start: TrialSpec, store: Store, train: Train, name: FeatureProbe
) -> None:
    trained = start.model_copy(update={"probe": name, "probes": GIVEN.only(name)})
    assert train(trained, store).probe.get("accuracy") == train(frozen(start, name), store).probe.get("accuracy")
    scores = [score_trial(spec, store, Execution()) for spec in (trained, frozen(start, name))]
    assert scores[0].metrics["accuracy"] == pytest.approx(scores[1].metrics["accuracy"], abs=0.01)
    assert scores[0].probe == scores[1].probe


def test_a_milestone_is_probed_as_it_was(start: TrialSpec, store: Store, train: Train) -> None:
    rows = [train(frozen(start, "knn", start_epoch=epoch), store) for epoch in (1, None)]
    shorter = start.model_copy(update={"epochs": 1})
    train(shorter, store)
    assert rows[0].probe.get("accuracy") != rows[1].probe.get("accuracy")
    assert rows[0].probe.get("accuracy") == train(frozen(shorter, "knn"), store).probe.get("accuracy")
    scores = [score_trial(frozen(start, "knn", start_epoch=epoch), store, Execution()) for epoch in (1, None)]
    assert scores[0].metrics["accuracy"] != scores[1].metrics["accuracy"]


def test_a_rerun_measures_nothing(start: TrialSpec, store: Store, train: Train) -> None:
    spec = frozen(start, "knn")
    row = train(spec, store)
    store.delete(model_path(start.id))  # nothing looks at it
    assert train(spec, store) == row
    assert read_row(store, spec.id) == row


def test_a_failed_trial_is_measured_again(start: TrialSpec, store: Store, train: Train) -> None:
    from dataclasses import replace

    spec = frozen(start, "knn")
    row = train(spec, store)
    write_row(store, replace(row, status="failed", reason="a crash", probe={}))
    assert train(spec, store).probe.get("accuracy") == row.probe.get("accuracy")


def test_features_that_are_not_finite_are_a_divergence(start: TrialSpec, store: Store, train: Train) -> None:
    state = read_model(store, start.id)
    state.tensors["encoder.head.0.weight"][:] = float("nan")
    write_model(store, start, None, state)
    row = train(frozen(start, "knn"), store)
    assert (row.status, row.probe.get("accuracy"), row.final_loss) == ("diverged", None, None)
    assert "non-finite features" in row.reason


def test_there_is_no_accuracy_where_a_class_cannot_be_held_out(start: TrialSpec, store: Store, train: Train) -> None:
    few = start.data.model_copy(update={"labels": 10})
    rows = [train(frozen(start, name, data=few), store) for name in NAMES]
    assert [(row.status, row.probe.get("accuracy") is None) for row in rows] == [
        ("finished", True), ("finished", True), ("finished", False),
    ]  # fmt: skip


def test_its_own_data_are_probed(start: TrialSpec, store: Store, train: Train) -> None:
    more = start.data.model_copy(update={"labels": 200})
    train(frozen(start, "knn", data=more), store)
    few, many = (
        score_trial(frozen(start, "knn", data=data, probes=ProbesSettings(knn=KNN(k=1))), store, Execution())
        for data in (start.data, more)
    )
    assert many.metrics["accuracy"] > few.metrics["accuracy"]


def test_a_plan_of_it_has_no_steps(start: TrialSpec, store: Store) -> None:
    cost = measure(frozen(start, "knn"), store, Execution(), 2)
    assert (cost.seconds, cost.steps) == (0.0, 0)
    assert cost.num_parameters == measure(start, store, Execution(), 1).num_parameters - 4 * (16 + 1)


def _rank(spec_json: str, folder: str) -> bool:
    row = run_trial(TrialSpec.model_validate_json(spec_json), Store(folder), Execution(), lambda epoch: None)
    return row is not None


def test_two_ranks_measure_once_and_do_not_wait_for_each_other(start: TrialSpec, store: Store, train: Train) -> None:
    spec = frozen(start, "knn")
    assert spawn(_rank, spec.model_dump_json(), store.uri) == [True, False]
    row = read_row(store, spec.id)
    assert row is not None
    assert row.workers == 2
    store.delete(f"rows/{spec.id}.parquet")
    assert train(spec, store).probe.get("accuracy") == row.probe.get("accuracy")
    assert read_scores(store) == {}
