"""Interquartile means, probabilities of improvement and stratified bootstraps, against worked values and scipy."""

import numpy as np
import pytest
from scipy import stats

from raysl.statistics.whole_tables import improvement, iqm, stratified_interval


def arrays(*values: list[float]) -> list[np.ndarray]:
    return [np.array(one) for one in values]


def test_the_interquartile_mean_is_as_worked_by_hand() -> None:
    # 8 values in order: 0, 1, 2, 3, 4, 5, 10, 90; without two at each end the mean of 2, 3, 4, 5 is left.
    assert iqm(arrays([90.0, 2.0, 5.0, 0.0], [1.0, 3.0, 4.0, 10.0])) == pytest.approx(3.5)
    assert iqm(arrays([1.0, 2.0, 6.0])) == pytest.approx(3.0)  # a quarter of three values is none


@pytest.mark.parametrize("num", [3, 5, 10])
def test_the_interquartile_mean_is_that_of_rliable(num: int) -> None:
    # rliable's metrics.aggregate_iqm is scipy.stats.trim_mean(scores, proportiontocut=0.25, axis=None).
    scores = np.random.default_rng(num).normal(size=(num, 4))
    assert iqm(list(scores.T)) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_the_probability_of_improvement_is_as_worked_by_hand() -> None:
    # Of 6 pairs, 3 beats 1 and 2, 2 beats 1, ties with 2, and both lose to 4: (2 + 1 + 0.5) / 6.
    assert improvement(arrays([2.0, 3.0]), arrays([1.0, 2.0, 4.0])) == pytest.approx(3.5 / 6)
    # Data sets have equal weights, however many their seeds: (3.5 / 6 + 1) / 2.
    both = improvement(arrays([2.0, 3.0], [9.0]), arrays([1.0, 2.0, 4.0], [0.0]))
    assert both == pytest.approx((3.5 / 6 + 1) / 2)


def test_the_probability_of_improvement_is_that_of_rliable() -> None:
    # rliable's metrics.probability_of_improvement: the mean over tasks of Mann-Whitney's U / (seeds x seeds).
    one, other = np.random.default_rng(0).integers(5, size=(2, 3, 6)).astype(float)
    expected = np.mean([stats.mannwhitneyu(a, b).statistic / 36 for a, b in zip(one, other, strict=True)])
    assert improvement(list(one), list(other)) == pytest.approx(expected)
    assert improvement(list(other), list(one)) == pytest.approx(1 - expected)


def test_resampling_stays_within_a_data_set() -> None:
    # Means of two data sets that have no spread of their own have none together, far apart as they are.
    far = arrays([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert stratified_interval(iqm, far) == pytest.approx((0.5, 0.5))
    assert stratified_interval(improvement, far, arrays([-1.0], [2.0])) == pytest.approx((0.5, 0.5))


def test_the_interval_of_a_large_sample_is_that_of_theory() -> None:
    drawn = np.random.default_rng(0).normal(size=400)
    low, high = stratified_interval(lambda scores: scores[0].mean(-1), [drawn])
    assert (high - low) / 2 == pytest.approx(1.96 * drawn.std() / 20, rel=0.05)
    assert stratified_interval(iqm, [drawn]) == stratified_interval(iqm, [drawn])


def test_intervals_of_improvement_cover_the_truth() -> None:
    rng = np.random.default_rng(1)
    truth = stats.norm.cdf(0.5 / 2**0.5)
    covered = 0
    for _ in range(60):
        low, high = stratified_interval(improvement, list(rng.normal(0.5, 1, (4, 8))), list(rng.normal(0, 1, (4, 8))))
        covered += low <= truth <= high
    assert covered >= 50
