"""95 % intervals of means over seeds: of Student's t, or of the percentile bootstrap."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0  # of all bootstraps: the same values have the same interval


def half_width(std: float, num: int) -> float:
    """Return half of the 95 % t interval of the mean of `num` values with a sample standard deviation."""
    from scipy import special

    return float(special.stdtrit(num - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(num)


def t_interval(values: Sequence[float]) -> Interval:
    """Return the t interval of the mean of two values and more; it takes them for normal."""
    mean = float(np.mean(values))
    half = half_width(float(np.std(values, ddof=1)), len(values))
    return mean - half, mean + half


def bootstrap_interval(values: Sequence[float]) -> Interval:
    """Return the percentile bootstrap interval of the mean (Efron 1979); of fewer than 10 values, it is too narrow."""
    known = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(SEED).integers(len(known), size=(RESAMPLES, len(known)))
    return percentiles(known[drawn].mean(1))


def percentiles(resampled: object) -> Interval:
    """Return the ends between which 95 % of resampled values lie."""
    low, high = np.percentile(np.asarray(resampled), [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return float(low), float(high)


# By the names that the command line has for them.
INTERVALS: Mapping[str, Callable[[Sequence[float]], Interval]] = {"t": t_interval, "bootstrap": bootstrap_interval}
WORDS = {"t": "95 % t intervals over the seeds", "bootstrap": "95 % percentile bootstrap intervals over the seeds"}
