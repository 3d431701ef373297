"""Clusters are found without labels, and matched with classes one to one."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from raysl.probes.clustering import best_map, clustering_accuracy, matched_classes
from raysl.probes.settings import Clustering

SETTINGS = Clustering()


def blobs(sizes: list[int], spread: float = 0.05, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features around the axes, one for each class, in mixed order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    noise = random.normal(size=(len(labels), len(sizes))) * spread
    return (np.eye(len(sizes))[labels] + noise).astype(np.float32), labels


def test_the_best_map_is_that_worked_out_by_hand() -> None:
    # Counts of classes 0, 1, 2 (columns) in clusters 0, 1, 2: each cluster's own majority is class 0 in two of them.
    counts = np.array([[5, 4, 0], [6, 0, 1], [0, 3, 2]])
    clusters = np.repeat([0, 0, 0, 1, 1, 1, 2, 2, 2], counts.ravel())
    labels = np.repeat([0, 1, 2] * 3, counts.ravel())
    mapped = best_map(clusters, labels)
    assert [set(mapped[clusters == cluster].tolist()) for cluster in range(3)] == [{1}, {0}, {2}]
    assert np.sum(mapped == labels) == 4 + 6 + 2  # not 5 + 6 + 3 of majorities, and not 6 + 3 + 0 of the greedy map


@pytest.mark.parametrize("seed", range(5))
def test_no_other_one_to_one_map_makes_more_right(seed: int) -> None:
    random = np.random.default_rng(seed)
    clusters, labels = (
        random.integers(0, 4, 60),
        random.permutation(np.r_[0, 1, 2, 3, random.integers(0, 4, 56) ** 2 % 4]),
    )
    most = max(int(np.sum(np.array(order)[clusters] == labels)) for order in permutations(range(4)))
    assert np.sum(best_map(clusters, labels) == labels) == most


def test_names_of_classes_and_numbers_of_clusters_do_not_matter() -> None:
    features, labels = blobs([30, 30, 30])
    assert clustering_accuracy(features, labels, SETTINGS, seed=0) == 1
    names = np.array([7, 0, 4])
    assert np.array_equal(matched_classes(features, names[labels], SETTINGS, seed=0), names[labels])
    assert clustering_accuracy(features, names[labels], SETTINGS, seed=0) == 1


def test_clusters_may_be_of_unequal_sizes() -> None:
    features, labels = blobs([100, 10, 3])
    assert clustering_accuracy(features, labels, SETTINGS, seed=0) == 1


def test_each_class_has_one_cluster_alone() -> None:
    # Both clusters are mostly class 0; one of them must be class 1 all the same.
    labels = np.array([0] * 9 + [1] * 3)
    features = np.eye(2)[[0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1]].astype(np.float32)
    assert sorted(set(matched_classes(features, labels, SETTINGS, seed=0).tolist())) == [0, 1]
    assert clustering_accuracy(features, labels, SETTINGS, seed=0) == 6 / 12  # 4 + 2, or 5 + 1: not 9 / 12


def test_labels_do_not_move_the_clusters() -> None:
    features, labels = blobs([20, 20, 20], spread=0.6)
    shuffled = np.random.default_rng(3).permutation(labels)
    found = [matched_classes(features, given, SETTINGS, seed=0) for given in (labels, shuffled)]
    together = [one[:, None] == one[None, :] for one in found]
    assert np.array_equal(*together)


def test_directions_are_clustered_and_not_lengths() -> None:
    features, labels = blobs([40, 40], spread=0.02)
    lengths = np.random.default_rng(1).choice([1.0, 50.0], size=(80, 1))
    assert clustering_accuracy((features * lengths).astype(np.float32), labels, SETTINGS, seed=0) == 1


def test_the_same_seed_gives_the_same_clusters() -> None:
    features, labels = blobs([30] * 6, spread=0.8)
    one = Clustering(restarts=1)
    found = [clustering_accuracy(features, labels, one, seed) for seed in (0, 0, 1, 2, 3, 4)]
    assert found[0] == found[1]
    assert len(set(found)) > 1


def test_the_best_of_several_restarts_is_taken_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.cluster

    given = []

    class Noted(sklearn.cluster.KMeans):  # type: ignore[misc]
        def __init__(self, n_clusters: int, *, n_init: int, random_state: int) -> None:
            given.append((n_clusters, n_init, random_state))
            super().__init__(n_clusters, n_init=n_init, random_state=random_state)

        def fit_predict(self, features: NDArray[np.float64]) -> NDArray[np.int32]:
            assert features.dtype == np.float64  # where rounding decides least
            found: NDArray[np.int32] = super().fit_predict(features)
            return found

    monkeypatch.setattr(sklearn.cluster, "KMeans", Noted)
    clustering_accuracy(*blobs([5, 5, 5]), Clustering(restarts=3), seed=11)
    assert given == [(3, 3, 11)]


def test_one_class_only_is_one_cluster() -> None:
    features, _ = blobs([6, 6])
    assert matched_classes(features, np.full(12, 4), SETTINGS, seed=0).tolist() == [4] * 12


def test_fewer_images_than_the_data_set_has_classes() -> None:
    # Three images of classes 2, 5 and 9 of ten: three clusters, and not ten.
    assert clustering_accuracy(np.eye(3, dtype=np.float32), np.array([9, 2, 5]), SETTINGS, seed=0) == 1


@pytest.mark.filterwarnings("error")
def test_collapsed_features_give_the_share_of_one_class() -> None:
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    for value in (0.0, 2.0):
        found = clustering_accuracy(np.full((10, 4), value, np.float32), labels, SETTINGS, seed=0)
        assert found == 0.5
