"""Components of variance: known values, known components, and how often the intervals hold the truth."""

import sys
from pathlib import Path

import numpy as np
import pytest

from raysl.statistics.variance import components, variance_of_mean

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from variance_coverage import coverage, simulated

ROUGHLY = 0.03  # of a share of 500 designs
TRUTH = {(0,): 4.0, (1,): 1.0, (0, 1): 0.5}


def test_two_crossed_factors_by_hand() -> None:
    # Rows 4, 8; columns 4, 5, 9; SS of rows 24, of columns 28, of the rest 4.
    found = components(np.array([[1.0, 4.0, 7.0], [7.0, 6.0, 11.0]]), nested=False)
    assert [one.effect for one in found] == [(0,), (1,), (0, 1)]
    assert [one.freedom for one in found] == [1, 2, 2]
    assert [one.mean_square for one in found] == pytest.approx([24.0, 14.0, 2.0])
    assert [one.variance for one in found] == pytest.approx([22 / 3, 6.0, 2.0])
    assert sum(one.share for one in found) == pytest.approx(1.0)


def test_nested_factors_by_hand() -> None:
    # Within rows of 3: means 4 and 8; SS between 24, within 18 + 14.
    found = components(np.array([[1.0, 4.0, 7.0], [7.0, 6.0, 11.0]]), nested=True)
    assert [one.freedom for one in found] == [1, 4]
    assert [one.mean_square for one in found] == pytest.approx([24.0, 8.0])
    assert [one.variance for one in found] == pytest.approx([16 / 3, 8.0])


@pytest.mark.parametrize("nested", [False, True])
def test_three_factors_sum_to_the_whole_and_a_pure_factor_has_it_all(nested: bool) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    found = components(values, nested=nested)
    assert sum(one.mean_square * one.freedom for one in found) == pytest.approx(((values - values.mean()) ** 2).sum())
    assert sum(one.freedom for one in found) == 59
    pure = components(np.broadcast_to(values[:, :1, :1], values.shape), nested=nested)
    assert [one.share for one in pure] == pytest.approx([1.0] + [0.0] * (len(pure) - 1))
    assert pure[0].variance == pytest.approx(np.var(values[:, 0, 0], ddof=1))


def test_an_interaction_of_three_factors_is_told_from_those_of_two() -> None:
    rng = np.random.default_rng(1)
    truth = {(1, 2): 9.0, (0, 1, 2): 0.01}
    found = components(simulated((6, 12, 12), truth, rng), nested=False)
    by_effect = {one.effect: one.variance for one in found}
    assert by_effect[1, 2] == pytest.approx(9.0, rel=0.3)
    assert max(value for effect, value in by_effect.items() if effect != (1, 2)) < 2.5


def test_one_factor_is_the_variance_over_it() -> None:
    values = np.array([1.0, 2.0, 4.0])
    [one] = components(values, nested=False)
    assert one.variance == pytest.approx(np.var(values, ddof=1))
    # The exact interval of a variance: df s2 / chi2 at 97.5 and 2.5 %.
    assert one.variance_interval == pytest.approx((2 * one.variance / 7.3778, 2 * one.variance / 0.050636), rel=0.05)
    assert one.share_interval == (1.0, 1.0)


def test_the_residual_may_be_the_whole_variance() -> None:
    values = np.random.default_rng(4).normal(size=(4, 3))
    alone = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    found = components(alone, nested=False)
    assert [one.share for one in found] == pytest.approx([0.0, 0.0, 1.0])
    assert found[-1].share_interval == (1.0, 1.0)
    assert found[0].share_interval == (0.0, 0.0)
    noise = np.random.default_rng(5).normal(size=(4, 3, 3))
    assert components(noise, nested=False)[-1].share_interval[1] == 1.0


def test_equal_values_have_no_components() -> None:
    found = components(np.full((2, 2), 3.0), nested=False)
    assert {(one.variance, one.share, *one.share_interval) for one in found} == {(0.0, 0.0, 0.0, 0.0)}


@pytest.mark.parametrize(("nested", "levels"), [(False, (4, 3)), (True, (4, 3))])
def test_the_variance_of_the_mean_is_that_of_many_means(nested: bool, levels: tuple[int, int]) -> None:
    truth = {effect: value for effect, value in TRUTH.items() if not nested or effect != (1,)}
    rng = np.random.default_rng(2)
    designs = [simulated(levels, truth, rng) for _ in range(1500)]
    estimates = [variance_of_mean(components(one, nested=nested), levels) for one in designs[:100]]
    means = np.var([one.mean() for one in designs])
    assert np.mean(estimates) == pytest.approx(means, rel=0.2)
    exact = sum(value / np.prod([levels[place] for place in effect]) for effect, value in truth.items())
    assert means == pytest.approx(exact, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("levels", "nested", "truth"),
    [
        ((4, 3), False, TRUTH),
        ((4, 3, 3), False, {(0,): 4.0, (1,): 1.0, (2,): 0.25, (0, 1): 0.5, (0, 1, 2): 1.0}),
        ((4, 3), False, {(0, 1): 1.0}),
        ((5, 3), True, {(0,): 2.0, (0, 1): 1.0}),
    ],
)
def test_95_percent_intervals_hold_the_truth_at_least_about_so_often(
    levels: tuple[int, ...], nested: bool, truth: dict[tuple[int, ...], float]
) -> None:
    for effect, _, variance, share in coverage(levels, nested, truth, 500):
        assert variance > 0.95 - ROUGHLY, effect
        assert share > 0.95 - ROUGHLY, effect
        if effect == tuple(range(len(levels))):  # an exact interval
            assert variance < 0.95 + ROUGHLY
