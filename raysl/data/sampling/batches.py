"""The order of an epoch: which images form each batch, and which of them are this rank's."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from raysl.data.sampling.permutations import Indices, Purpose, permutation, permutations

PURPOSES = {"labelled": Purpose.LABELLED_BATCHES, "unlabelled": Purpose.UNLABELLED_BATCHES}


class Batch(NamedTuple):
    """One step's images, by stream (`labelled`, `unlabelled`).

    rows: indices of this rank's images in D_l and in D_u, int64 [B].
    positions: indices of this rank's rows in the stream's global batch, int64 [B].
    sizes: rows of the stream's global batch.  step: number of the batch in its epoch.
    """

    rows: dict[str, Indices]
    positions: dict[str, Indices]
    sizes: dict[str, int]
    step: int

    @property
    def size(self) -> int:
        """Rows of the global batch, in the stream that has most of them."""
        return max(self.sizes.values())


def num_steps(
    num_labelled: int | None, num_unlabelled: int | None, batch_size: int, *, ratio: int = 1, steps: int | None = None
) -> int:
    """Return the number of batches of an epoch, which covers the unlabelled images if given, else the labelled.

    ratio, steps: as in `epoch_batches`.
    """
    largest = batch_size if num_labelled is None or num_unlabelled is None else ratio * batch_size
    return -(-_covered(num_labelled, num_unlabelled) // largest) if steps is None else steps


def epoch_batches(
    num_labelled: int | None,
    num_unlabelled: int | None,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    *,
    ratio: int = 1,
    steps: int | None = None,
) -> Iterator[Batch]:
    """Yield the batches of an epoch, as this rank sees them; a stream given as None is absent.

    An epoch covers the unlabelled images if given, else the labelled ones. Each of them is in one batch; the sizes of
    batches differ by at most one and never exceed `batch_size`. With both streams a batch holds as many labelled images
    as unlabelled ones, from successive permutations of D_l: each is seen floor or ceil(N_u / N_l) times.
    ratio: unlabelled images per labelled one, if both streams are present; `batch_size` then counts the labelled ones.
    steps: number of batches of an epoch that is not one pass over the images. All batches are full, and successive
        permutations of a stream run on from one epoch into the next.
    Orders depend on the seed and the epoch alone. Rank r takes rows r::world_size of each batch: none if the batch has
    fewer rows than there are ranks.
    """
    counts = {"labelled": num_labelled, "unlabelled": num_unlabelled}
    present = {stream: count for stream, count in counts.items() if count is not None}
    sizes = list(_sizes(num_labelled, num_unlabelled, batch_size, ratio, steps))
    order = _pass if steps is None else _endless
    totals = {s: sum(size[s] for size in sizes) for s in present}
    orders = {s: order(count, totals[s], seed, PURPOSES[s], epoch) for s, count in present.items()}
    starts = dict.fromkeys(present, 0)
    for step, size in enumerate(sizes):
        rows = {s: orders[s][starts[s] + rank : starts[s] + size[s] : world_size] for s in present}
        positions = {s: np.arange(rank, size[s], world_size) for s in present}
        yield Batch(rows, positions, {s: size[s] for s in present}, step)
        starts = {s: start + size[s] for s, start in starts.items()}


def _sizes(
    num_labelled: int | None, num_unlabelled: int | None, batch_size: int, ratio: int, steps: int | None
) -> Iterator[dict[str, int]]:
    """Yield the size of each batch by stream, present or not."""
    per_labelled = 1 if num_labelled is None or num_unlabelled is None else ratio
    number = num_steps(num_labelled, num_unlabelled, batch_size, ratio=ratio, steps=steps)
    smallest, larger = divmod(_covered(num_labelled, num_unlabelled), number)
    for step in range(number):
        size = smallest + (step < larger) if steps is None else per_labelled * batch_size
        yield {"labelled": -(-size // per_labelled), "unlabelled": size}


def _covered(num_labelled: int | None, num_unlabelled: int | None) -> int:
    covered = num_labelled if num_unlabelled is None else num_unlabelled
    assert covered, "a method has at least one stream, and a stream at least one image"
    return covered


def _pass(number: int, total: int, seed: int, purpose: Purpose, epoch: int) -> Indices:
    """Return at least `total` indices, from permutations of the epoch's own."""
    return permutations(-(-total // number), number, seed, purpose, epoch).ravel()


def _endless(number: int, total: int, seed: int, purpose: Purpose, epoch: int) -> Indices:
    """Return the `total` indices of an epoch, from permutations that run on from one epoch into the next."""
    start, end = epoch * total, (epoch + 1) * total
    first = start // number
    orders = [permutation(number, seed, purpose, place) for place in range(first, -(-end // number))]
    places: Indices = np.concatenate(orders)[start - first * number : end - first * number]
    return places
