"""The SVM sees training features alone, converges, and gives the same number every time."""

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from raysl.probes import linear_svm
from raysl.probes.linear_svm import cross_validated_accuracy
from raysl.probes.settings import LinearSVM

SETTINGS, UNSCALED = LinearSVM(), LinearSVM(scale="none")
Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


def example(num_images: int, width: int = 10, num_classes: int = 3, separation: float = 0.5, seed: int = 0) -> Arrays:
    """Return features after a ReLU, with classes in turn, around the same centres for every seed."""
    centres = np.random.default_rng(99).normal(size=(num_classes, width)) * separation
    labels = np.arange(num_images) % num_classes
    noise = np.random.default_rng(seed).normal(size=(num_images, width))
    return np.maximum(centres[labels] + noise, 0).astype(np.float32), labels


def test_scores_are_those_of_an_svm_on_features_scaled_by_the_training_images() -> None:
    (features, labels), (test_features, test_labels) = example(60), example(200, seed=1)
    test_features = test_features * 3 + 1  # scaled by all images, or by the test images, this would not matter
    scaler = StandardScaler().fit(features.astype(np.float64))
    classifier = LinearSVC(dual=False).fit(scaler.transform(features.astype(np.float64)), labels)
    expected = classifier.score(scaler.transform(test_features.astype(np.float64)), test_labels)
    assert linear_svm.test_accuracy(features, labels, test_features, test_labels, SETTINGS) == expected


def test_a_test_image_is_judged_without_regard_to_the_others() -> None:
    (features, labels), (test_features, test_labels) = example(60), example(20, seed=1)
    test_features[0] *= 1000  # an outlier that would squash a scaler that saw it
    singly = [
        linear_svm.test_accuracy(features, labels, test_features[i : i + 1], test_labels[i : i + 1], SETTINGS)
        for i in range(len(test_labels))
    ]
    together = linear_svm.test_accuracy(features, labels, test_features, test_labels, SETTINGS)
    assert together == pytest.approx(np.mean(singly))


def test_cross_validation_scales_inside_each_fold() -> None:
    features, labels = example(45)
    features[::5] *= 30  # few images decide a scaler that sees all
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    within: list[float] = []
    leaking: list[float] = []
    for fit, held in folds.split(features, labels):
        for scaler_rows, scores in ((fit, within), (np.arange(45), leaking)):
            scaler = StandardScaler().fit(features[scaler_rows].astype(np.float64))
            scaled = scaler.transform(features.astype(np.float64))
            scores.append(LinearSVC(dual=False).fit(scaled[fit], labels[fit]).score(scaled[held], labels[held]))
    assert cross_validated_accuracy(features, labels, SETTINGS, seed=3) == pytest.approx(np.mean(within))
    assert np.mean(within) != np.mean(leaking)


def test_cross_validation_follows_the_seed() -> None:
    features, labels = example(60)
    scores = [cross_validated_accuracy(features, labels, SETTINGS, seed) for seed in (0, 0, 1, 2, 3)]
    assert scores[0] == scores[1]
    assert len(set(scores)) > 1


def test_folds_are_clamped_to_the_smallest_class() -> None:
    features, labels = example(30)
    keep = np.flatnonzero((labels != 0) | (np.arange(30) < 9))  # three images of class 0
    found = cross_validated_accuracy(features[keep], labels[keep], LinearSVM(folds=10), seed=0)
    assert found == cross_validated_accuracy(features[keep], labels[keep], LinearSVM(folds=3), seed=0)
    assert found is not None
    assert found != cross_validated_accuracy(features[keep], labels[keep], LinearSVM(folds=2), seed=0)


def test_no_score_where_a_class_cannot_be_held_out() -> None:
    features, labels = example(30)
    labels[0] = 7  # the only one of its class
    assert cross_validated_accuracy(features, labels, SETTINGS, seed=0) is None
    assert cross_validated_accuracy(features, np.zeros(30, np.int64), SETTINGS, seed=0) is None


def test_c_matters() -> None:
    features, labels = example(60, width=30)
    test_features, test_labels = example(300, width=30, seed=1)
    weak, strong = (
        linear_svm.test_accuracy(features, labels, test_features, test_labels, LinearSVM(C=c)) for c in (1e-5, 1.0)
    )
    assert weak != strong


def test_constant_features_are_harmless() -> None:
    (features, labels), (test_features, test_labels) = example(60), example(60, seed=1)
    dead, test_dead = np.zeros_like(features), np.zeros_like(test_features)
    padded, test_padded = np.hstack([features, dead]), np.hstack([test_features, test_dead])
    expected = linear_svm.test_accuracy(features, labels, test_features, test_labels, SETTINGS)
    assert linear_svm.test_accuracy(padded, labels, test_padded, test_labels, SETTINGS) == expected
    # All units dead: one class is predicted for all, which is one of three that are equally many.
    assert linear_svm.test_accuracy(dead, labels, test_dead, test_labels, SETTINGS) == pytest.approx(1 / 3)
    assert cross_validated_accuracy(dead, labels, SETTINGS, seed=0) == pytest.approx(1 / 3)


def test_unscaled_features_are_taken_as_they_are() -> None:
    (features, labels), (test_features, test_labels) = example(60), example(200, seed=1)
    features, test_features = features * 3 + 1, test_features * 3 + 1
    classifier = LinearSVC(dual=False).fit(features.astype(np.float64), labels)
    expected = classifier.score(test_features.astype(np.float64), test_labels)
    found = linear_svm.test_accuracy(features, labels, test_features, test_labels, UNSCALED)
    assert found == expected
    assert found != linear_svm.test_accuracy(features, labels, test_features, test_labels, SETTINGS)
    folds = StratifiedKFold(5, shuffle=True, random_state=3).split(features, labels)
    scores = [LinearSVC(dual=False).fit(features[f], labels[f]).score(features[h], labels[h]) for f, h in folds]
    assert cross_validated_accuracy(features, labels, UNSCALED, seed=3) == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("rare", [1e-7, 1e-5, 1e-3])
def test_a_unit_that_hardly_varies_does_not_decide(rare: float, magnitude: float) -> None:
    (features, labels), (test_features, test_labels) = example(60), example(300, seed=1)
    expected = linear_svm.test_accuracy(features, labels, test_features, test_labels, SETTINGS)
    unit, test_unit = np.zeros((60, 1)), np.zeros((300, 1))
    unit[0] = rare  # it fires for one training image, and for others as strongly as any unit
    test_unit[::2] = 1.0
    padded, test_padded = (np.hstack(columns) * magnitude for columns in ((features, unit), (test_features, test_unit)))
    found = linear_svm.test_accuracy(padded, labels, test_padded, test_labels, SETTINGS)
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_collapsed_features_are_no_better_than_chance(constant: float) -> None:
    features, labels = np.full((60, 10), constant, np.float32), np.arange(60) % 3
    assert linear_svm.test_accuracy(features, labels, features, labels, SETTINGS) == pytest.approx(1 / 3)


def test_a_single_training_class_is_predicted_for_all() -> None:
    (features, _), (test_features, test_labels) = example(6), example(10, seed=1)
    ones = np.ones(6, np.int64)
    found = linear_svm.test_accuracy(features, ones, test_features, test_labels, SETTINGS)
    assert found == np.mean(test_labels == 1)


@pytest.mark.parametrize("magnitude", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(
    ("num_images", "width", "separation"),
    [(65, 128, 0.5), (300, 128, 0.5), (200, 64, 0.0), (200, 512, 0.5)],
)
def test_solver_converges_and_repeats(
    num_images: int, width: int, separation: float, magnitude: float, caplog: pytest.LogCaptureFixture
) -> None:
    features, labels = example(num_images, width, num_classes=5, separation=separation)
    # Correlated features, as a network's are, take a solver the longest.
    mixing = np.random.default_rng(0).normal(size=(width, width)) * magnitude / np.sqrt(width)
    correlated = np.maximum(features.astype(np.float64) @ mixing, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = linear_svm._fit(correlated, labels, UNSCALED)
        second = linear_svm._fit(correlated, labels, UNSCALED)
    assert np.array_equal(first.coef_, second.coef_)
    assert not caplog.records


def test_a_solver_that_does_not_converge_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(linear_svm, "DUAL_SWEEPS", 1)
    monkeypatch.setattr(linear_svm, "PRIMAL_STEPS", 2)
    features, labels = example(60, 30)
    linear_svm.test_accuracy(features, labels, features, labels, SETTINGS)
    assert [record.message for record in caplog.records] == [
        "the linear SVM has not converged in 2 steps; its accuracy is that of the last"
    ]


@pytest.mark.parametrize("separation", [0.0, 0.5])
def test_both_solvers_find_the_same_classifier(separation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = example(80, 30, separation=separation)
    found: list[Any] = []
    for wide in (0, 4):  # never the dual, and the dual first
        monkeypatch.setattr(linear_svm, "WIDE", wide)
        found.append(linear_svm._fit(features.astype(np.float64), labels, SETTINGS))
    np.testing.assert_allclose(found[0].coef_, found[1].coef_, atol=5e-3)


def test_module_imports_neither_torch_nor_sklearn() -> None:
    check = "import sys, raysl.probes.linear_svm; sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
