"""Intervals of means, against scipy, worked values and a simulation of their coverage."""

import numpy as np
import pytest
from scipy import stats

from raysl.statistics.intervals import CONFIDENCE, INTERVALS, bootstrap_interval, half_width, t_interval

VALUES = [0.81, 0.84, 0.79, 0.86, 0.83]


def test_the_t_interval_is_that_of_scipy_and_of_the_table() -> None:
    expected = stats.t.interval(0.95, 4, np.mean(VALUES), stats.sem(VALUES))
    assert t_interval(VALUES) == pytest.approx(expected, rel=1e-9)
    assert half_width(1.0, 4) == pytest.approx(3.182 / 2, abs=5e-4)  # t of 3 degrees of freedom, by any table


def test_the_bootstrap_is_near_that_of_scipy_and_always_the_same() -> None:
    drawn = np.random.default_rng(0).gamma(2.0, size=40)
    resampled = stats.bootstrap((drawn,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    assert bootstrap_interval(drawn) == pytest.approx(resampled.confidence_interval, rel=0.02)
    assert bootstrap_interval(drawn) == bootstrap_interval(drawn)


def test_the_bootstrap_of_two_values_lies_between_them() -> None:
    assert bootstrap_interval([1.0, 2.0]) == (1.0, 2.0)  # a quarter of the resamples has either value alone


@pytest.mark.parametrize("num", [2, 3, 5, 20])
def test_t_intervals_cover_the_true_mean_at_the_stated_rate(num: int) -> None:
    draws = np.random.default_rng(num).normal(0.7, 0.1, (4000, num))
    halves = half_width(1.0, num) * draws.std(1, ddof=1)
    rate = (np.abs(draws.mean(1) - 0.7) <= halves).mean()
    assert rate == pytest.approx(CONFIDENCE, abs=4 * (0.05 * 0.95 / 4000) ** 0.5)


def test_every_interval_holds_its_mean() -> None:
    for interval in INTERVALS.values():
        low, high = interval(VALUES)
        assert low < np.mean(VALUES) < high
