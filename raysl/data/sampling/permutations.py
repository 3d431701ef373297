"""Seeded permutations, the same on every machine and with every version of numpy.

numpy's versions keep the streams of its bit generators, but not the results of its `permutation`; permutations are
therefore made by sorting raw 64-bit draws.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Purpose(IntEnum):
    """What a permutation is for; those for different purposes are independent even if their seed is the same."""

    TRAIN_SPLIT = 0
    LABELLED_SUBSET = 1
    CLASSES_WITH_ONE_MORE = 2
    UNLABELLED_SUBSET = 3
    LABELLED_BATCHES = 4
    UNLABELLED_BATCHES = 5
    ATTACKED_PIXELS = 6
    ATTACK_COLOURS = 7
    CRITERIA = 8
    FOLDS = 9


def permutations(times: int, total: int, seed: int, purpose: Purpose, epoch: int = 0) -> Indices:
    """Return independent permutations of range(total), int64 [times, total]."""
    # SeedSequence treats [a, b] and [a, b, 0] alike, so only the last entry, the epoch, has a default.
    generator = np.random.PCG64(np.random.SeedSequence([seed, purpose, epoch]))
    draws = generator.random_raw(times * total).reshape(times, total)
    return np.argsort(draws, axis=1, kind="stable").astype(np.int64, copy=False)


def permutation(total: int, seed: int, purpose: Purpose, epoch: int = 0) -> Indices:
    """Return a permutation of range(total), int64 [total]."""
    order: Indices = permutations(1, total, seed, purpose, epoch)[0]
    return order
