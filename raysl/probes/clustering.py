"""How well k-means finds the classes again in features that it is given without labels; torch-free.

Clustering accuracy is the field's: the images that are evaluated are clustered, without their labels, into as many
clusters as they have classes; each cluster is then taken for a class, one to one, in the way that makes the most of
these images right (Xu et al. 2022, "Revisiting Pretraining for Semi-Supervised Learning in the Low-Label Regime",
section IV-E, equations 8 and 9, by the Hungarian algorithm). So clusters of the test set are matched with the test
set's labels, and no labelled training image is used at all: it measures features, and is no classifier.
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
    """Return the class that each image's cluster is taken for, [N].

    features: [N, D].  labels: [N].  There are as many clusters as classes among the labels.
    """
    classes = np.unique(labels)
    return best_map(_clusters(features, len(classes), settings, seed), labels)


def best_map(clusters: Labels, labels: Labels) -> Labels:
    """Return the class of each image under the one-to-one map of clusters to classes that makes the most right, [N].

    clusters: [N], numbers below that of the classes.  labels: [N].
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
        # Collapsed features have fewer distinct values than there are classes; that is a low accuracy, and no trouble.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(means.fit_predict(unit_length(features.astype(np.float64))), np.int64)
