"""Tests of differences that are paired by seed, corrected for several comparisons."""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

ERROR = 0.05  # two-sided
ROUNDING = 1e-9  # relative; sums of the same numbers in another order differ by less


def is_same(value: float, other: float) -> bool:
    """Return whether two values differ by rounding only."""
    return abs(value - other) <= ROUNDING * max(abs(value), abs(other))


def p_values(differences: Reals) -> Reals:
    """Return the two-sided p value of a paired t test for each row: whether its mean difference is 0.

    The test takes the differences for normal and the seeds for independent.  Equal differences, as of accuracies on a
    few images, are not normal; their p value is that of the sign test.
    differences: [..., seeds], NaN where a seed is missing.  A row of fewer than two seeds has p = 1.
    """
    from scipy import special

    num = np.sum(~np.isnan(differences), axis=-1)
    known = np.where(np.isnan(differences), 0.0, differences)
    mean = known.sum(-1) / np.maximum(num, 1)
    from_mean = np.where(np.isnan(differences), 0.0, differences - mean[..., None])
    freedom = np.maximum(num - 1, 1)
    error = np.sqrt((from_mean**2).sum(-1) / freedom / np.maximum(num, 1))
    is_spread = error > ROUNDING * np.abs(mean)
    t = np.abs(mean) / np.where(is_spread, error, 1.0)
    without = np.where(mean == 0, 1.0, 2.0 ** (1 - num))
    return np.where(num < 2, 1.0, np.where(is_spread, 2 * special.stdtr(freedom, -t), without))


def holm(values: Reals) -> Reals:
    """Return p values corrected for all comparisons of a row (Holm 1979): the chance of any false one is bounded.

    values: [..., comparisons].
    """
    order = np.argsort(values, axis=-1)
    count = values.shape[-1]
    scaled = np.take_along_axis(values, order, -1) * (count - np.arange(count))
    rising = np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0)
    found = np.empty_like(rising)
    np.put_along_axis(found, order, rising, -1)
    return found


def tie_set(values: Reals, highest: bool) -> NDArray[np.bool_]:
    """Return which configs cannot be told from the best: bool [configs].

    They are those whose difference from the config of the best mean is not significant at `ERROR`, by paired t tests
    with Holm's correction over the other configs.  The config that is truly best is among them with at least 1 - ERROR:
    it is left out only if a config that looks better differs significantly from it.
    values: of what is compared [configs, seeds], NaN where a config lacks a seed.
    """
    means = np.nanmean(values, axis=-1)
    best = int(np.argmax(means) if highest else np.argmin(means))
    differences = values - values[best]
    other = np.arange(len(values)) != best
    found = np.ones(len(values), np.bool_)
    p = p_values(differences[other])
    p[np.abs(means[other] - means[best]) <= ROUNDING * abs(means[best])] = 1.0
    if len(p):
        found[other] = holm(p) > ERROR
    return found
