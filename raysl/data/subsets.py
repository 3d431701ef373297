"""Seeded subsets: which images train, which carry labels, which are used without."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysl.data.orders import Indices, Purpose, permutation
from raysl.data.parquet import TEST, TRAIN, UNLABELLED

SPLIT_SEED = 0  # of `train_fraction`; which images are tested on is no part of what a trial's seed varies


def labelled_subset(
    labels: Indices, count: int, draw: Literal["balanced", "uniform"], seed: int, num_classes: int
) -> Indices:
    """Return the sorted indices of D_l in the train pool, int64 [count].

    The same seed gives the same subset whatever the method, and a larger count contains a smaller one's images.
    `balanced`: counts of the classes differ by one at most, and which ones get the extra image is drawn from those that
    have it.
    labels: int64 [N] of the train pool, which `resolve` has found large enough.
    """
    order = permutation(len(labels), seed, Purpose.LABELLED_SUBSET)
    if draw == "uniform":
        return np.sort(order[:count])
    each, extra = divmod(count, num_classes)
    quotas = np.full(num_classes, each)
    classes = permutation(num_classes, seed, Purpose.CLASSES_WITH_ONE_MORE)
    richer = np.bincount(labels, minlength=num_classes)[classes] > each
    quotas[classes[richer][:extra]] += 1
    return np.sort(_first_of_each(labels, order, quotas))


def unlabelled_subset(total: int, count: int, seed: int) -> Indices:
    """Return the sorted indices of the D_u in use, int64 [count]."""
    return np.sort(permutation(total, seed, Purpose.UNLABELLED_SUBSET)[:count])


def train_split(labels: Indices, num_classes: int, count: int) -> NDArray[np.bool_]:
    """Return which of the images train, bool [N], `count` in all and of each class its share.

    Shares are rounded down, and what is left goes to the largest remainders, lower classes first. Always the same
    images: the seed is fixed.
    """
    shares = np.bincount(labels, minlength=num_classes) * count
    quotas, remainders = np.divmod(shares, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    chosen = np.zeros(len(labels), np.bool_)
    chosen[_first_of_each(labels, permutation(len(labels), SPLIT_SEED, Purpose.TRAIN_SPLIT), quotas)] = True
    return chosen


def assign_splits(
    labels: Indices, splits: NDArray[np.int8], num_classes: int, train_fraction: float | None
) -> NDArray[np.int8]:
    """Return the split of each image as numbers of `parquet.SPLITS`, int8 [N].

    With a `train_fraction`, floor(train_fraction * N) of the N labelled images train and the others test.
    """
    if train_fraction is None:
        return splits
    labelled = np.flatnonzero(splits != UNLABELLED)
    count = int(train_fraction * len(labelled) + 1e-9)
    trains = train_split(labels[labelled], num_classes, count)
    assigned = splits.copy()
    assigned[labelled] = np.where(trains, TRAIN, TEST)
    return assigned


def _first_of_each(labels: Indices, order: Indices, quotas: Indices) -> Indices:
    """Return the first `quotas[c]` images of each class c, in the given order."""
    grouped = order[np.argsort(labels[order], kind="stable")]
    classes = labels[grouped]
    starts = np.searchsorted(classes, np.arange(len(quotas)))
    return grouped[np.arange(len(grouped)) - starts[classes] < quotas[classes]]
