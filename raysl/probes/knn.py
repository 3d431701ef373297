"""Weighted k nearest neighbours (Wu et al. 2018, arXiv:1805.01978, section 3.4); torch-free.

The k images of the bank whose features are the most similar to an image's, by the cosine s, each vote for their class
with the weight exp(s / T). k = 200 is the paper's; T = 0.1 is that of the kNN monitor in the CIFAR-10 notebook that
belongs to MoCo (github.com/facebookresearch/moco); the paper has 0.07.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from raysl.probes.folds import Features, Labels, cross_validated, unit_length
from raysl.probes.settings import KNN

CHUNK = 2**22  # similarities at once, 16 MiB of them; a fixed number, so that every machine rounds alike


def cross_validated_accuracy(features: Features, labels: Labels, settings: KNN, seed: int) -> float | None:
    """Return the mean accuracy, in [0, 1], over the folds of `cross_validated`; the bank is the other folds."""

    def predict(bank: Features, bank_labels: Labels, held: Features) -> Labels:
        return predictions(bank, bank_labels, held, settings)

    return cross_validated(features, labels, settings.folds, seed, predict)


def predictions(bank: Features, bank_labels: Labels, features: Features, settings: KNN) -> Labels:
    """Return the predicted classes of images, [M]; of classes with equal votes, the lowest.

    bank: [N, D], with labels [N].  features: [M, D].
    If the bank has fewer than k images, all of them vote. Images as near as the k-th neighbour vote too, so that the
    bank's order decides nothing.
    """
    classes, places = np.unique(bank_labels, return_inverse=True)
    transposed = np.ascontiguousarray(unit_length(bank).astype(np.float32).T)
    queries = unit_length(features).astype(np.float32)
    k = min(settings.k, len(bank))
    chosen = [
        _votes(chunk @ transposed, places, len(classes), k, settings.temperature).argmax(axis=1)
        for chunk in _chunks(queries, len(bank))
    ]
    predicted: Labels = classes[np.concatenate(chosen)]
    return predicted


def _chunks(queries: NDArray[np.float32], bank_size: int) -> Iterator[NDArray[np.float32]]:
    rows = max(1, CHUNK // bank_size)
    yield from (queries[start : start + rows] for start in range(0, len(queries), rows))


def _votes(
    similarities: NDArray[np.float32], places: NDArray[np.intp], num_classes: int, k: int, temperature: float
) -> NDArray[np.float64]:
    """Return the votes, [M, K], up to a factor of each row.

    similarities: [M, N].  places: class numbers of the bank's images, [N].
    """
    num_images, bank_size = similarities.shape
    kth = np.partition(similarities, bank_size - k, axis=1)[:, bank_size - k]
    voters = np.flatnonzero(similarities >= kth[:, None])  # five times as fast as nonzero
    rows, columns = np.divmod(voters, bank_size)
    near = similarities.ravel()[voters].astype(np.float64)
    nearest = similarities.max(axis=1)
    weights = np.exp((near - nearest[rows]) / temperature)  # at most 1, whatever the temperature
    votes = np.bincount(rows * num_classes + places[columns], weights, minlength=num_images * num_classes)
    return np.asarray(votes, np.float64).reshape(num_images, num_classes)
