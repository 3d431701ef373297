"""Cross-validation of a classifier on labelled training images, the same folds for every probe; torch-free."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Predict = Callable[[Features, Labels, Features], Labels]  # training features and labels, others' features -> classes


def cross_validated(features: Features, labels: Labels, folds: int, seed: int, predict: Predict) -> float | None:
    """Return the mean accuracy, in [0, 1], over stratified folds shuffled by the seed.

    features: [N, D].  labels: [N].
    There are `folds` folds, or as many as the smallest class has images. None if a class has fewer than 2 images, or
    there is one class only.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.unique_counts(labels).counts
    if len(counts) < 2 or counts.min() < 2:
        return None
    parts = StratifiedKFold(min(folds, int(counts.min())), shuffle=True, random_state=seed).split(features, labels)
    return float(
        np.mean([accuracy(predict(features[fit], labels[fit], features[held]), labels[held]) for fit, held in parts])
    )


def accuracy(predicted: Labels, labels: Labels) -> float:
    """Return the fraction of images whose predicted class is right."""
    return float(np.mean(predicted == labels))


def unit_length(features: Features) -> Features:
    """Return features [N, D] divided by their L2 norms, in their precision; zeros stay zeros."""
    # In fp32 the square of 1e20 is infinite, and that of 1e-23 is 0.
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    return features / np.where(norms > 0, norms, 1).astype(features.dtype)[:, None]
