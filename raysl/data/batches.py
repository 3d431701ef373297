"""The order of an epoch: which images form each batch, and which of them are this rank's."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from raysl.data.orders import Indices, Purpose, permutation, permutations


class Batch(NamedTuple):
    """One step's images.

    rows: by stream (`labelled`, `unlabelled`), the places of this rank's images in D_l and in D_u, int64 [B].
    positions: places of this rank's rows in the global batch, int64 [B]; the same for both streams.
    size: rows of the global batch, in each stream.  step: number of the batch in its epoch.
    """

    rows: dict[str, Indices]
    positions: Indices
    size: int
    step: int


def num_steps(num_labelled: int | None, num_unlabelled: int | None, batch_size: int) -> int:
    """Return the number of batches of an epoch, which covers the unlabelled images if given, else the labelled."""
    return -(-_covered(num_labelled, num_unlabelled) // batch_size)


def epoch_batches(
    num_labelled: int | None,
    num_unlabelled: int | None,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Yield the batches of an epoch, as this rank sees them; a stream given as None is absent.

    The covered images are each in one batch, and the sizes of batches differ by one at most and never exceed
    `batch_size`. With both streams a batch holds as many labelled images as unlabelled ones, from one permutation of
    D_l after the other: each is seen floor or ceil(N_u / N_l) times.
    Orders depend on the seed and the epoch alone. Rank r takes rows r::world_size of each batch, which are none where
    a batch has fewer rows than there are ranks.
    """
    orders = _orders(num_labelled, num_unlabelled, seed, epoch)
    steps = num_steps(num_labelled, num_unlabelled, batch_size)
    smallest, larger = divmod(_covered(num_labelled, num_unlabelled), steps)
    positions = np.arange(rank, smallest + 1, world_size)
    start = 0
    for step in range(steps):
        size = smallest + (step < larger)
        rows = {stream: order[start + rank : start + size : world_size] for stream, order in orders.items()}
        yield Batch(rows, positions[: max(0, -(-(size - rank) // world_size))], size, step)
        start += size


def _covered(num_labelled: int | None, num_unlabelled: int | None) -> int:
    covered = num_labelled if num_unlabelled is None else num_unlabelled
    assert covered, "a method has at least one stream, and a stream at least one image"
    return covered


def _orders(num_labelled: int | None, num_unlabelled: int | None, seed: int, epoch: int) -> dict[str, Indices]:
    covered = _covered(num_labelled, num_unlabelled)
    orders = {}
    if num_labelled is not None:
        times = -(-covered // num_labelled)
        orders["labelled"] = permutations(times, num_labelled, seed, Purpose.LABELLED_BATCHES, epoch).ravel()
    if num_unlabelled is not None:
        orders["unlabelled"] = permutation(num_unlabelled, seed, Purpose.UNLABELLED_BATCHES, epoch)
    return orders
