"""The decisions of a race, over values made by hand and drawn."""

import math

import numpy as np
import pytest
from races import Values, drawn, of_trials

from raysl.results.records.stages import Race
from raysl.search.race import Ended, Standing, fewest_trials, level, replay, worse_than_leader

SEEDS = (7, 3, 5, 0, 9)
RACE = Race(0.05, 2, SEEDS)


def ended(values: Values, seeds: tuple[int, ...] = SEEDS) -> Ended:
    return {one: dict(zip(seeds, given, strict=False)) for one, given in values.items()}


def standing(values: Values, race: Race = RACE) -> Standing:
    return replay(race, list(values), ended(values, race.seeds))


CLEAR: Values = {
    "good": [1.0, 1.1, 1.05, 0.97, 1.02],
    "near": [1.01, 1.12, 1.04, 0.99, 1.0],
    "bad": [9.0, 9.1001, 9.05, 8.97, 9.02],
}


def test_a_config_that_is_surely_worse_gets_no_more_seeds_and_the_others_get_all() -> None:
    race = standing(CLEAR)
    assert race.num_seeds == {"good": 5, "near": 5, "bad": 2}
    assert race.remaining == ("good", "near")
    assert race.is_over
    [drop] = race.drops
    assert (drop.config_id, drop.number, drop.num_seeds, drop.leader) == ("bad", 1, 2, "good")
    assert drop.difference == pytest.approx(8.0, abs=1e-4)
    assert drop.p <= drop.level == pytest.approx(0.05 / (3 * 2))  # looks at 2, 3 and 4 seeds; 2 leaders


def test_the_last_one_gets_all_seeds_and_the_race_ends_with_these() -> None:
    alone = standing({"good": CLEAR["good"][:2], "bad": CLEAR["bad"][:2]})
    assert alone.num_seeds == {"good": 5, "bad": 2}
    assert not alone.is_over
    whole = standing({"good": CLEAR["good"], "bad": CLEAR["bad"][:2]})
    assert whole.is_over
    assert whole.remaining == ("good",)
    assert sum(whole.num_seeds.values()) == fewest_trials(RACE, 2) == 7


def test_a_round_is_decided_when_all_its_trials_have_ended() -> None:
    waiting = standing({"good": [1.0, 1.1], "bad": [9.0]})
    assert (waiting.num_rounds, waiting.drops) == (0, ())
    assert waiting.num_seeds == {"good": 2, "bad": 2}


def test_the_test_is_a_paired_t_test_of_the_seeds_that_both_have() -> None:
    from scipy.stats import ttest_rel

    values = np.random.default_rng(0).normal(size=(4, 6)) + np.arange(4)[:, None] + 5 * np.arange(6)
    leader, worse, p = worse_than_leader(values)
    assert leader == 0
    for one in range(1, 4):
        expected = ttest_rel(values[one], values[0], alternative="greater")
        assert p[one] == pytest.approx(expected.pvalue)
        assert worse[one] == pytest.approx(np.mean(values[one] - values[0]))
    assert p[0] == 1


def test_of_equal_means_the_first_leads_and_equal_configs_stay() -> None:
    values = np.array([[2.0, 2.0], [1.0, 1.0], [1.0, 1.0]])
    leader, _, p = worse_than_leader(values)
    assert leader == 1
    assert p[2] > 0.4
    same = standing({"a": [0.5] * 5, "b": [0.5] * 5})
    assert same.remaining == ("a", "b")


def test_equal_differences_of_rounded_values_are_no_certainty() -> None:
    accuracies = np.array([[-0.9, -0.85, -0.9], [-0.85, -0.8, -0.85]])  # each one image of 20
    _, _, p = worse_than_leader(accuracies)
    assert p[1] > 0.05
    # Means of folds differ by rounding errors, which are no steps.
    _, _, noisy = worse_than_leader(accuracies + np.array([[0, 1e-16, -1e-16], [1e-16, 0, 0]]))
    assert noisy[1] == pytest.approx(p[1])


def test_a_config_with_a_seed_that_did_not_finish_leaves_and_leads_nothing() -> None:
    race = standing({"gone": [0.0, None], "good": CLEAR["good"], "near": CLEAR["near"]})
    assert race.num_seeds == {"gone": 2, "good": 5, "near": 5}
    assert race.remaining == ("good", "near")
    assert race.drops == ()


def test_if_the_last_one_fails_those_that_it_beat_come_back() -> None:
    values: Values = {"good": [1.0, 1.1, None], "bad": [9.0, 9.1001], "worse": [19.0, 19.1002]}
    race = Race(0.3, 2, SEEDS[:4])
    back = standing(values, race)
    assert back.num_seeds == {"good": 4, "bad": 2, "worse": 2}  # seed 4 of `good` has not ended
    values["good"].append(1.0)
    back = standing(values, race)
    assert back.num_seeds == {"good": 4, "bad": 4, "worse": 4}
    assert back.dropped == {}
    assert [drop.config_id for drop in back.drops] == ["bad", "worse"]
    values["bad"] += [9.0, 9.0]
    values["worse"] += [19.0, 19.0]
    assert standing(values, race).remaining == ("bad", "worse")


def test_a_race_in_which_nothing_finishes_ends() -> None:
    race = standing({"a": [None, 1.0], "b": [None, None]})
    assert race.is_over
    assert race.remaining == ()


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_rows_changes_a_decision_and_what_is_known_earlier_is_a_prefix(seed: int) -> None:
    random = np.random.default_rng(seed)
    race = Race(float(random.choice([0.05, 0.3])), int(random.integers(2, 4)), tuple(range(int(random.integers(4, 9)))))
    values = drawn(random, race)
    configs = list(values)
    every = [(one, place) for one in configs for place in range(len(race.seeds))]
    whole = replay(race, configs, of_trials(values, race, every))
    assert whole.is_over
    # What the race did not ask for decides nothing.
    asked = [(one, place) for one in configs for place in range(whole.num_seeds[one])]
    assert replay(race, configs, of_trials(values, race, asked)) == whole
    random.shuffle(asked)
    assert replay(race, configs, of_trials(values, race, asked)) == whole
    before = replay(race, configs, {})
    for count in range(len(asked) + 1):
        now = replay(race, configs, of_trials(values, race, asked[:count]))
        assert now.drops == whole.drops[: len(now.drops)]
        assert now.drops[: len(before.drops)] == before.drops
        assert now.num_rounds >= before.num_rounds
        assert all(now.num_seeds[one] >= before.num_seeds[one] for one in configs)
        before = now


@pytest.mark.parametrize("seed", range(20))
def test_a_race_that_is_driven_trial_by_trial_ends_and_asks_for_no_trial_of_a_dropped_config(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    race = Race(0.2, 2, tuple(range(6)))
    values = drawn(random, race)
    configs, known = list(values), list[tuple[str, int]]()
    while not (now := replay(race, configs, of_trials(values, race, known))).is_over:
        todo = [(one, i) for one in configs for i in range(now.num_seeds[one]) if (one, i) not in known]
        assert todo
        assert all(one in now.remaining for one, _ in todo)
        known.append(todo[int(random.integers(len(todo)))])
    assert all(now.num_seeds[one] == 6 for one in now.remaining)


@pytest.mark.parametrize(("num_configs", "num_seeds"), [(2, 3), (3, 5), (9, 10)])
def test_levels_of_all_tests_of_one_config_add_up_to_the_error(num_configs: int, num_seeds: int) -> None:
    looks = num_seeds - 2  # after 2, 3, ... seeds, and none after the last
    assert level(0.05, looks, num_configs) * looks * (num_configs - 1) == pytest.approx(0.05)
    assert math.isfinite(level(0.05, looks, 1))


def test_the_best_of_equal_configs_is_dropped_no_more_often_than_stated() -> None:
    random, race, dropped = np.random.default_rng(1), Race(0.1, 2, tuple(range(5))), 0
    for _ in range(1500):
        noise = random.normal(size=(4, 5))
        values = {f"c{i}": dict(enumerate(row)) for i, row in enumerate(noise.tolist())}
        dropped += "c0" in replay(race, list(values), values).dropped
    assert dropped <= 0.1 * 1500
    assert dropped > 0  # it is a test, not a refusal
