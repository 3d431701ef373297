"""Seeded orders."""

import numpy as np

from raysl.data.sampling.permutations import Purpose, permutation, permutations


def test_rows_are_independent_permutations() -> None:
    orders = permutations(3, 50, 7, Purpose.LABELLED_BATCHES)
    assert (np.sort(orders, axis=1) == np.arange(50)).all()
    assert len({tuple(order) for order in orders.tolist()}) == 3


def test_orders_stay_what_they_are() -> None:
    # Results of earlier versions can be gone on with only while these stay.
    assert permutation(8, 0, Purpose.LABELLED_SUBSET).tolist() == [7, 4, 5, 1, 6, 2, 0, 3]
    assert permutation(8, 3, Purpose.UNLABELLED_BATCHES, epoch=2).tolist() == [2, 5, 3, 4, 1, 6, 7, 0]


def test_purpose_seed_and_epoch_each_change_the_order() -> None:
    keys = [(seed, purpose, epoch) for seed in range(4) for purpose in Purpose for epoch in range(4)]
    orders = {tuple(permutation(20, seed, purpose, epoch).tolist()) for seed, purpose, epoch in keys}
    assert len(orders) == len(keys)
