"""Paired tests, Holm's correction and tie sets, against scipy, worked values and simulations."""

import numpy as np
import pytest
from scipy import stats

from raysl.statistics.paired import ERROR, holm, is_same, p_values, tie_set

NAN = float("nan")


def test_p_values_are_those_of_scipy() -> None:
    draws = np.random.default_rng(0).normal(0.5, 1.0, (2, 3, 7))
    assert p_values(draws) == pytest.approx(stats.ttest_1samp(draws, 0.0, axis=-1).pvalue, rel=1e-10)


def test_a_missing_seed_is_left_out_of_its_own_row_alone() -> None:
    found = p_values(np.array([[1.0, NAN, 1.4, 0.7], [1.0, 5.0, 1.4, 0.7]]))
    expected = [stats.ttest_1samp([1.0, 1.4, 0.7], 0.0).pvalue, stats.ttest_1samp([1.0, 5.0, 1.4, 0.7], 0.0).pvalue]
    assert found == pytest.approx(expected)


def test_one_seed_says_nothing() -> None:
    assert p_values(np.array([[5.0], [0.0]])).tolist() == [1.0, 1.0]
    assert p_values(np.array([[NAN, 5.0]])).tolist() == [1.0]


def test_equal_differences_are_tested_by_their_signs() -> None:
    # Of 3 signs that are alike, the two-sided p value is 2 / 2^3, whatever their size and its rounding.
    steps = np.array([[0.02, 0.02, 0.02], [0.54 - 0.52, 0.52 - 0.5, 0.5 - 0.48], [0.0, 0.0, 0.0]])
    assert p_values(steps) == pytest.approx([0.25, 0.25, 1.0])
    assert p_values(np.full((1, 8), -1.0)) == pytest.approx([2 / 2**8])


def test_holm_is_as_worked_by_hand() -> None:
    # 0.01 x 4, 0.015 x 3 (below, so raised to 0.045), 0.04 x 2, 0.9 x 1.
    assert holm(np.array([0.04, 0.01, 0.9, 0.015])) == pytest.approx([0.08, 0.04, 0.9, 0.045])
    assert holm(np.array([0.02, 0.021])) == pytest.approx([0.04, 0.04])  # never in another order than p
    assert holm(np.array([[0.9, 0.8], [0.01, 0.5]])) == pytest.approx(np.array([[1.0, 1.0], [0.02, 0.5]]))


def test_the_tie_set_is_of_the_best_and_those_that_may_be_as_good() -> None:
    noise = np.array([0.0, 0.3, -0.2, 0.1, -0.1])
    values = np.array([1.0 + noise, 1.0 + noise[::-1], 3.0 - noise, 1.1 + 2 * noise])
    assert tie_set(values, highest=False).tolist() == [True, True, False, True]
    assert tie_set(-values, highest=True).tolist() == [True, True, False, True]
    assert tie_set(values, highest=True).tolist() == [False, False, True, False]


def test_seeds_that_pull_all_configs_alike_do_not_hide_a_difference() -> None:
    shared = np.array([0.0, 10.0, -7.0, 3.0])
    values = np.array([shared, shared + np.array([0.1, 0.11, 0.09, 0.1])])
    assert tie_set(values, highest=False).tolist() == [True, False]


def test_values_that_differ_by_rounding_only_tie() -> None:
    values = np.array([[0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]] * 2)
    values[1] += 1e-12
    assert tie_set(values, highest=False).all()
    assert is_same(0.1 + 0.2, 0.3)
    assert not is_same(0.3, 0.3 * (1 + 1e-8))
    assert is_same(0.0, 0.0)
    assert not is_same(0.0, 1e-12)


def test_a_config_is_compared_on_the_seeds_that_it_shares_with_the_best() -> None:
    values = np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 3.1, NAN, NAN], [NAN, NAN, NAN, 9.0]])
    assert tie_set(values, highest=False).tolist() == [True, True, True]  # 2 seeds, and 1


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
def test_of_two_equal_configs_one_is_left_out_at_the_stated_rate(num_seeds: int) -> None:
    draws = np.random.default_rng(num_seeds).normal(size=(4000, num_seeds))
    rate = float((p_values(draws) <= ERROR).mean())
    assert rate == pytest.approx(ERROR, abs=4 * (ERROR * (1 - ERROR) / 4000) ** 0.5)


@pytest.mark.parametrize("effects", [(0.0,) * 6, (0.0, 0.1, 0.2, 1.0, 5.0, 50.0), (0.0, 0.3, 0.3, 0.3)])
def test_the_truly_best_config_is_in_the_tie_set_at_least_as_often_as_stated(effects: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(2000, len(effects), 4)) + np.array(effects)[:, None]
    kept = np.mean([tie_set(values, highest=False)[0] for values in draws])
    assert kept >= 1 - ERROR


def test_holm_bounds_the_chance_of_any_false_difference() -> None:
    draws = np.random.default_rng(2).normal(size=(3000, 5, 6)) + np.array([0, 0, 0, 3, 3])[:, None]
    found = holm(p_values(draws)) <= ERROR
    assert found[:, :3].any(1).mean() <= ERROR + 2 * (ERROR / 3000) ** 0.5
    assert (
        found[:, :3].any(1).mean() > (p_values(draws) <= ERROR / 5)[:, :3].any(1).mean()
    )  # more power than Bonferroni
    assert found[:, 3:].mean() > 0.5
