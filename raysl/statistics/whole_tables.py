"""Scores of several data sets together, as Agarwal et al. 2021 (rliable) summarise and resample them.

Scores are a list of arrays: the values of each data set, by seed.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from raysl.statistics.intervals import RESAMPLES, SEED, Interval, percentiles

Scores = Sequence[NDArray[np.float64]]  # of each data set [..., seeds]
BLOCK = 100  # resamples at a time: a thousand seeds have a million pairs in each


def iqm(scores: Scores) -> NDArray[np.float64]:
    """Return the interquartile mean: of all values of all data sets, without the least and the greatest quarter."""
    every = np.sort(np.concatenate(list(scores), axis=-1), axis=-1)
    cut = every.shape[-1] // 4
    found: NDArray[np.float64] = every[..., cut : every.shape[-1] - cut].mean(-1)
    return found


def improvement(scores: Scores, others: Scores) -> NDArray[np.float64]:
    """Return the probability that a value is greater than another of the same data set, ties half, over the data sets.

    Both are of any seeds (Mann & Whitney 1947); data sets have equal weights.
    """
    found = []
    for own, other in zip(scores, others, strict=True):
        mine, theirs = own[..., :, None], other[..., None, :]
        found.append((mine > theirs).mean((-2, -1)) + (mine == theirs).mean((-2, -1)) / 2)
    return np.mean(found, axis=0)  # type: ignore[no-any-return]


def stratified_interval(statistic: Callable[..., NDArray[np.float64]], *scores: Scores) -> Interval:
    """Return the 95 % percentile interval of a statistic, of values that are resampled within each data set.

    Each of the arguments of the statistic is resampled by itself.
    """
    rng = np.random.default_rng(SEED)
    found = [
        statistic(*([_resampled(values, rng) for values in one] for one in scores)) for _ in range(RESAMPLES // BLOCK)
    ]
    return percentiles(found)


def _resampled(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values[rng.integers(len(values), size=(BLOCK, len(values)))]
    return found
