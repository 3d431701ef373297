"""Seeded subsets: the training images, the labelled ones (D_l) and the unlabelled ones (D_u)."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysl.data.sampling.permutations import Indices, Purpose, permutation
from raysl.data.storage.parquet import TEST, TRAIN, UNLABELLED

SPLIT_SEED = 0  # of `train_fraction`; a trial's seed does not change the test set


def labelled_subset(
    labels: Indices,
    count: int,
    draw: Literal["balanced", "uniform"],
    seed: int,
    num_classes: int,
    shown: NDArray[np.bool_] | None = None,
) -> Indices:
    """Return the sorted indices of D_l in the train pool, int64 [count].

    The same seed gives the same subset whatever the method, and a larger count contains a smaller one's images.
    `balanced`: class counts differ by at most one; the classes that get an extra image are drawn among those that have
    enough. Of images with masks, which show several classes each, those come first that show a class which none before
    them shows; the others follow.
    labels: int64 [N] of the train pool, which `resolve` has checked to be large enough.
    shown: of images with masks, the classes that each mask shows, bool [N, num_classes].
    """
    order = permutation(len(labels), seed, Purpose.LABELLED_SUBSET)
    if draw == "uniform":
        return np.sort(order[:count])
    if shown is not None:
        return np.sort(_showing_all(shown, order)[:count])
    each, extra = divmod(count, num_classes)
    quotas = np.full(num_classes, each)
    classes = permutation(num_classes, seed, Purpose.CLASSES_WITH_ONE_MORE)
    richer = np.bincount(labels, minlength=num_classes)[classes] > each
    quotas[classes[richer][:extra]] += 1
    return np.sort(_first_of_each(labels, order, quotas))


def fold_numbers(labels: Indices, folds: int, seed: int) -> Indices:
    """Return the fold of each image, from 0 to `folds` - 1, int64 [N].

    Folds are stratified: the counts of a class in two folds differ by at most one, and so do the sizes of two folds.
    labels: int64 [N].
    """
    order = permutation(len(labels), seed, Purpose.FOLDS)
    numbers = np.empty(len(labels), np.int64)
    numbers[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % folds
    return numbers


def unlabelled_subset(total: int, count: int, seed: int) -> Indices:
    """Return the sorted indices of the D_u in use, int64 [count]."""
    return np.sort(permutation(total, seed, Purpose.UNLABELLED_SUBSET)[:count])


def train_split(labels: Indices, num_classes: int, count: int) -> NDArray[np.bool_]:
    """Return the mask of the images that train, bool [N]: `count` in all, stratified by class.

    Class shares are rounded down; the remaining images go to the classes with the largest remainders, lower classes
    first. The seed is fixed, so that the images are always the same.
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
    """Return the split of each image as an index into `storage.parquet.SPLITS`, int8 [N].

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


def _showing_all(shown: NDArray[np.bool_], order: Indices) -> Indices:
    """Return the order with the images first that show a class which none before them shows.

    shown: bool [N, K], the classes that each image shows.
    """
    ordered = shown[order]
    seen = np.zeros_like(ordered)
    seen[1:] = np.logical_or.accumulate(ordered)[:-1]
    brings = (ordered & ~seen).any(axis=1)
    return np.concatenate([order[brings], order[~brings]])
