"""Each probe is asked for by its settings, and sees what it may see."""

import numpy as np
import pytest
from numpy.typing import NDArray

from raysl.probes import clustering, knn, linear_svm, probe_dispatch
from raysl.probes.settings import KNN, Clustering, FeatureProbe, LinearSVM, ProbeSettings, ProbesSettings

Set = tuple[NDArray[np.float32], NDArray[np.int64]]
EVERY: list[ProbeSettings] = [LinearSVM(), KNN(k=5), Clustering()]


def images(num_images: int, seed: int) -> Set:
    labels = np.arange(num_images) % 3
    noise = np.random.default_rng(seed).normal(size=(num_images, 8))
    centres = np.random.default_rng(7).normal(size=(3, 8))
    return (centres[labels] + noise).astype(np.float32), labels


TRAIN, TEST = images(45, seed=0), images(60, seed=1)


def test_each_probe_gives_its_own_accuracy_on_training_images() -> None:
    found = [probe_dispatch.training_accuracy(*TRAIN, settings, seed=3) for settings in EVERY]
    assert found == [
        linear_svm.cross_validated_accuracy(*TRAIN, LinearSVM(), 3),
        knn.cross_validated_accuracy(*TRAIN, KNN(k=5), 3),
        clustering.clustering_accuracy(*TRAIN, Clustering(), 3),
    ]
    assert len(set(found)) == 3


def test_each_probe_gives_its_own_predictions_on_the_test_set() -> None:
    found = [probe_dispatch.predictions(TRAIN, TEST, settings, seed=3) for settings in EVERY]
    expected = [
        linear_svm.predictions(*TRAIN, TEST[0], LinearSVM()),
        knn.predictions(*TRAIN, TEST[0], KNN(k=5)),
        clustering.matched_classes(*TEST, Clustering(), 3),
    ]
    assert all(map(np.array_equal, found, expected))


@pytest.mark.parametrize("settings", EVERY, ids=lambda settings: type(settings).__name__)
def test_classifiers_never_see_test_labels_and_clusters_never_see_training_labels(settings: ProbeSettings) -> None:
    wrong = (TEST[0], (TEST[1] + 1) % 3)
    relabelled = np.array_equal(
        probe_dispatch.predictions(TRAIN, wrong, settings, seed=0),
        probe_dispatch.predictions(TRAIN, TEST, settings, seed=0),
    )
    retrained = np.array_equal(
        probe_dispatch.predictions((TRAIN[0], (TRAIN[1] + 1) % 3), TEST, settings, seed=0),
        probe_dispatch.predictions(TRAIN, TEST, settings, seed=0),
    )
    is_clustering = isinstance(settings, Clustering)
    assert (relabelled, retrained) == (not is_clustering, is_clustering)


def test_a_trial_holds_the_settings_of_the_probe_that_it_uses() -> None:
    given = ProbesSettings(linear_svm=LinearSVM(C=3.0), knn=KNN(k=7))
    held: dict[FeatureProbe, ProbesSettings] = {
        "linear_svm": ProbesSettings(linear_svm=LinearSVM(C=3.0)),
        "knn": ProbesSettings(knn=KNN(k=7)),
        "clustering": ProbesSettings(clustering=Clustering()),
    }
    for name, expected in held.items():
        assert given.only(name) == expected
    assert [given.only(name).used for name in held] == [LinearSVM(C=3.0), KNN(k=7), Clustering()]
    assert ProbesSettings().only("knn").used == KNN(k=200, temperature=0.1, folds=5)
