"""Clustering accuracy: how well k-means recovers the classes from features, without labels; torch-free.

The evaluated images are clustered, without their labels, into as many clusters as they have classes. Clusters are then
mapped to classes, one to one, such that the most images are right (Xu et al. 2022, "Revisiting Pretraining for
Semi-Supervised Learning in the Low-Label Regime", section IV-E, equations 8 and 9, by the Hungarian algorithm).
Clusters of the test set are thus matched with the test set's labels, and no labelled training image is used: the
accuracy measures features, not a classifier.
Features are divided by their L2 norms first, as Caron et al. 2018 (arXiv:1807.05520) do before their k-means.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

from raysl.probes.folds import Features, Labels, accuracy, unit_length
from raysl.probes.settings import Clustering


def clustering_accuracy(features: Features, labels: Labels, settings: Clustering, seed: int) -> float:
    """Return the clustering accuracy, in [0, 1], of features [N, D] with labels [N]."""
    return accuracy(matched_classes(features, labels, settings, seed), labels)


def matched_classes(features: Features, labels: Labels, settings: Clustering, seed: int) -> Labels:
    """Return the class that each image's cluster is mapped to, [N].

    features: [N, D].  labels: [N].  There are as many clusters as classes among the labels.
    """
    classes = np.unique(labels)
    return best_map(_clusters(features, len(classes), settings, seed), labels)


def best_map(clusters: Labels, labels: Labels) -> Labels:
    """Return the class of each image, [N], under the one-to-one map of clusters to classes with the highest accuracy.

    clusters: [N], from 0 to the number of classes - 1.  labels: [N].
    """
    from scipy.optimize import linear_sum_assignment

    classes, places = np.unique(labels, return_inverse=True)
    size = len(classes)
    counts = np.bincount(clusters * size + places, minlength=size * size).reshape(size, size)
    _, chosen = linear_sum_assignment(counts, maximize=True)
    mapped: Labels = classes[chosen[clusters]]
    return mapped


def _clusters(features: Features, num_clusters: int, settings: Clustering, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(num_clusters, n_init=settings.restarts, random_state=seed)
    with warnings.catch_warnings():
        # Collapsed features have fewer distinct values than there are classes: a low accuracy, and no error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(means.fit_predict(unit_length(features.astype(np.float64))), np.int64)
