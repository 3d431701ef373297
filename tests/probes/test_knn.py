"""Neighbours vote by the cosine, weighted by the temperature, and nobody votes for himself."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from raysl.probes import knn
from raysl.probes.settings import KNN

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


def example(num_images: int, width: int = 12, num_classes: int = 4, seed: int = 0) -> Arrays:
    """Return features after a ReLU, with classes in turn, around the same centres for every seed."""
    centres = np.random.default_rng(99).normal(size=(num_classes, width))
    labels = np.arange(num_images) % num_classes
    noise = np.random.default_rng(seed).normal(size=(num_images, width))
    return np.maximum(0.7 * centres[labels] + noise, 0).astype(np.float32), labels


def at(*degrees: float, length: float = 1.0) -> NDArray[np.float32]:
    """Return points in the plane in some directions."""
    angles = np.deg2rad(degrees)
    return (length * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


QUERY = at(0)


def test_votes_are_those_worked_out_by_hand() -> None:
    # cos 0 = 1 of class 5; cos 60 = 0.5 and cos 90 = 0 of class 7.  T = 0.5: exp(2) = 7.39 against exp(1) + 1 = 3.72.
    bank, labels = at(0, 60, 90), np.array([5, 7, 7])
    cosines = bank.dot(QUERY.T).T.astype(np.float32)
    votes = knn._votes(cosines, np.array([0, 1, 1]), 2, k=3, temperature=0.5)
    assert votes[0] / votes[0, 0] == pytest.approx([1.0, np.exp(-1) + np.exp(-2)], rel=1e-6)
    assert knn.predictions(bank, labels, QUERY, KNN(k=3, temperature=0.5)).tolist() == [5]
    # T = 2: exp(0.5) = 1.65 against exp(0.25) + exp(0) = 2.28.
    assert knn.predictions(bank, labels, QUERY, KNN(k=3, temperature=2.0)).tolist() == [7]
    # And of two neighbours the nearer one wins at any temperature.
    assert knn.predictions(bank, labels, QUERY, KNN(k=2, temperature=2.0)).tolist() == [5]


def test_similarity_is_the_cosine_and_no_dot_product() -> None:
    bank = np.concatenate([at(10), at(40, length=100)])
    for query in (QUERY, 1e-3 * QUERY, 1e3 * QUERY):
        assert knn.predictions(bank, np.array([0, 1]), query, KNN(k=1)).tolist() == [0]


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_lengths_that_cannot_be_squared_are_lengths_too(scale: float) -> None:
    (bank, labels), (features, _) = example(60), example(40, seed=1)
    scaled = (features * scale).astype(np.float32)
    expected = knn.predictions(bank, labels, features, KNN(k=7))
    assert np.array_equal(knn.predictions(bank, labels, scaled, KNN(k=7)), expected)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (9, 0.1), (40, 0.07), (40, 3.0), (120, 0.5)])
def test_predictions_are_scikit_learns(k: int, temperature: float) -> None:
    (bank, labels), (features, _) = example(120), example(200, seed=1)
    reference = KNeighborsClassifier(
        k, algorithm="brute", metric="cosine", weights=lambda distances: np.exp((1 - distances) / temperature)
    )
    expected = reference.fit(bank.astype(np.float64), labels).predict(features.astype(np.float64))
    found = knn.predictions(bank, labels, features, KNN(k=k, temperature=temperature))
    assert np.array_equal(found, expected)
    assert len(set(found)) == 4


def test_k_is_clamped_to_the_bank() -> None:
    (bank, labels), (features, _) = example(30), example(50, seed=1)
    found = knn.predictions(bank, labels, features, KNN(k=200))
    assert np.array_equal(found, knn.predictions(bank, labels, features, KNN(k=30)))
    assert not np.array_equal(found, knn.predictions(bank, labels, features, KNN(k=3)))


@pytest.mark.parametrize("temperature", [1e-2, 1e-4])
def test_low_temperatures_do_not_overflow(temperature: float) -> None:
    (bank, labels), (features, _) = example(60), example(50, seed=1)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = knn.predictions(bank, labels, features, KNN(k=60, temperature=temperature))
    nearest = knn.predictions(bank, labels, features, KNN(k=1))
    assert np.mean(found == nearest) > (0.9 if temperature < 1e-3 else 0.5)  # in the end the nearest one decides


def test_far_neighbours_at_low_temperatures_still_vote() -> None:
    # All similarities are -1 or so: without their maximum taken off, every weight would be exp(-10000) = 0.
    bank, labels = at(180, 181, 179), np.array([0, 3, 3])
    assert knn.predictions(bank, labels, QUERY, KNN(k=3, temperature=1e-4)).tolist() == [3]


@pytest.mark.parametrize("chunk", [1, 130, 601, 10**6])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (bank, labels), (features, _) = example(120), example(101, seed=1)
    expected = knn.predictions(bank, labels, features, KNN(k=11))
    monkeypatch.setattr(knn, "CHUNK", chunk)
    assert np.array_equal(knn.predictions(bank, labels, features, KNN(k=11)), expected)


def test_no_chunk_holds_more_similarities_than_it_may() -> None:
    queries = np.zeros((1000, 2), np.float32)
    sizes = [len(chunk) for chunk in knn._chunks(queries, bank_size=50_000)]
    assert max(sizes) * 50_000 <= knn.CHUNK
    assert (sum(sizes), min(sizes[:-1])) == (1000, max(sizes))
    assert [len(chunk) for chunk in knn._chunks(queries, bank_size=10 * knn.CHUNK)] == [1] * 1000


def test_equal_votes_go_to_the_lowest_class() -> None:
    bank = at(30, -30)
    for labels in ([2, 1], [1, 2]):
        assert knn.predictions(bank, np.array(labels), QUERY, KNN(k=2)).tolist() == [1]


def test_all_that_are_as_near_as_the_last_vote_whatever_the_order_of_the_bank() -> None:
    bank, labels = at(0, 0, 0, 0, 0), np.array([4, 2, 2, 4, 2])
    orders = [np.arange(5), np.arange(5)[::-1], np.array([2, 0, 3, 1, 4])]
    assert [knn.predictions(bank[order], labels[order], QUERY, KNN(k=2)).tolist() for order in orders] == [[2]] * 3


def test_collapsed_features_are_taken_for_the_commonest_class() -> None:
    labels = np.array([3, 1, 1, 3, 3])
    for value in (0.0, 1.0):
        bank, features = np.full((5, 4), value, np.float32), np.full((7, 4), value, np.float32)
        assert knn.predictions(bank, labels, features, KNN(k=2)).tolist() == [3] * 7


def test_a_single_class_is_predicted_for_all() -> None:
    bank, _ = example(9)
    assert knn.predictions(bank, np.full(9, 6), example(5, seed=1)[0], KNN()).tolist() == [6] * 5


def test_cross_validation_leaves_the_held_fold_out_of_the_bank() -> None:
    # Labels drawn at random: whoever finds an image itself in the bank is right about all of them.
    features, _ = example(100)
    labels = np.random.default_rng(5).permutation(np.arange(100) % 4)
    assert np.mean(knn.predictions(features, labels, features, KNN(k=1)) == labels) == 1
    found = knn.cross_validated_accuracy(features, labels, KNN(k=1), seed=0)
    assert found is not None
    assert found < 0.4


def test_cross_validation_is_over_the_folds_of_the_svm() -> None:
    features, labels = example(90)
    folds = StratifiedKFold(3, shuffle=True, random_state=8).split(features, labels)
    expected = [
        np.mean(knn.predictions(features[fit], labels[fit], features[held], KNN(k=6)) == labels[held])
        for fit, held in folds
    ]
    assert knn.cross_validated_accuracy(features, labels, KNN(k=6, folds=3), seed=8) == pytest.approx(np.mean(expected))
    other = [knn.cross_validated_accuracy(features, labels, KNN(k=6, folds=3), seed=seed) for seed in range(4)]
    assert len(set(other)) > 1


def test_no_cross_validation_where_a_class_cannot_be_held_out() -> None:
    features, labels = example(30)
    assert knn.cross_validated_accuracy(features, np.zeros(30, np.int64), KNN(), seed=0) is None
    labels[0] = 9  # the only one of its class
    assert knn.cross_validated_accuracy(features, labels, KNN(), seed=0) is None


def test_module_imports_neither_torch_nor_sklearn() -> None:
    check = "import sys, raysl.probes.probe_dispatch; sys.exit(bool({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
