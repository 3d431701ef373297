"""The decisions of a race whose configs are proposed one by one, over values made by hand and drawn."""

from dataclasses import replace

import numpy as np
import pytest
from races import Values, drawn, of_trials

from raysl.results.records.stages import Race
from raysl.search.race import Ended, Standing, fewest_trials, level, worse_than_leader
from raysl.search.race_of_proposals import (
    expected_mean,
    finished_values,
    replay_proposals,
    worse_than_earlier,
)

SEEDS = (7, 3, 5, 0, 9)
RACE = Race(0.05, 2, SEEDS, num_configs=10)
GOOD, NEAR, BAD = [1.0, 1.1, 1.05, 0.97, 1.02], [1.01, 1.12, 1.04, 0.99, 1.0], [9.0, 9.1001, 9.05, 8.97, 9.02]


def ended(values: Values, race: Race = RACE) -> Ended:
    return {one: dict(zip(race.seeds, given, strict=False)) for one, given in values.items()}


def standing(values: Values, race: Race = RACE) -> Standing:
    return replay_proposals(race, list(values), ended(values, race))


def test_a_config_that_is_surely_worse_than_one_before_it_gets_no_more_seeds() -> None:
    race = standing({"good": [*GOOD], "bad": [*BAD], "near": [*NEAR]})
    assert race.num_seeds == {"good": 5, "bad": 2, "near": 5}
    assert race.remaining == ("good", "near")
    assert race.is_over
    [drop] = race.drops
    assert (drop.config_id, drop.number, drop.num_seeds, drop.leader) == ("bad", 1, 2, "good")
    assert drop.difference == pytest.approx(8.0, abs=1e-4)
    assert drop.p <= drop.level == pytest.approx(0.05 / 3)  # looks at 2, 3 and 4 seeds; one config before it


def test_a_config_that_is_surely_worse_than_one_after_it_keeps_its_seeds() -> None:
    race = standing({"bad": [*BAD], "good": [*GOOD]})
    assert race.num_seeds == {"bad": 5, "good": 5}
    assert race.drops == ()


def test_the_level_falls_with_the_number_of_configs_before_and_does_not_depend_on_those_after() -> None:
    values: Values = {"good": [*GOOD], "near": [*NEAR], "bad": [*BAD], "worse": [value + 1 for value in BAD]}
    race = standing(values)
    assert [drop.level for drop in race.drops] == pytest.approx([0.05 / (3 * 2), 0.05 / (3 * 3)])
    assert standing(dict(list(values.items())[:3])).drops == race.drops[:1]
    assert standing(values, replace(RACE, num_configs=1000)) == race


def test_a_config_with_a_seed_that_did_not_finish_counts_as_one_before() -> None:
    race = standing({"gone": [0.0, None], "good": [*GOOD], "bad": [*BAD]})
    assert race.num_seeds == {"gone": 2, "good": 5, "bad": 2}
    assert race.remaining == ("good",)
    [drop] = race.drops
    assert (drop.leader, drop.level) == ("good", pytest.approx(0.05 / (3 * 2)))


def test_a_config_that_was_dropped_leads_with_no_more_seeds_than_it_got() -> None:
    """It has better rows of an earlier search, of seeds that the race did not give it."""
    values: Values = {
        "good": [*GOOD],
        "bad": [*BAD[:2], -100.0, -100.0, -100.0],
        "late": [value + more for value, more in zip(GOOD, (0.5, 3, 3, 3, 3), strict=True)],
    }
    decided = standing(values, replace(RACE, error=0.3))
    assert [(drop.config_id, drop.leader, drop.num_seeds) for drop in decided.drops] == [
        ("bad", "good", 2), ("late", "good", 4),
    ]  # fmt: skip


def test_a_config_that_fails_leads_with_the_seeds_before_that() -> None:
    values: Values = {"gone": [0.0, 0.1, None], "second": [1.0, 1.11, 1.0], "third": [2.0, 2.12, 2.0]}
    decided = standing(values, replace(RACE, error=0.9))
    assert [drop.leader for drop in decided.drops] == ["gone", "gone"]
    values["gone"][1] = None
    assert [drop.leader for drop in standing(values, replace(RACE, error=0.9)).drops] == ["second"]


def test_a_decision_waits_for_all_lower_numbers_and_for_no_higher_one() -> None:
    waiting = standing({"good": [GOOD[0]], "bad": [*BAD], "near": [*NEAR]})
    assert (waiting.num_rounds, waiting.drops, waiting.is_over) == (0, (), False)
    assert waiting.num_seeds == {"good": 2, "bad": 2, "near": 2}
    assert waiting.remaining == ("good", "bad", "near")
    now = standing({"good": GOOD[:2], "bad": BAD[:2], "near": []})
    assert now.num_seeds == {"good": 3, "bad": 2, "near": 2}
    # `near` has all rows of an earlier search, and waits for the third seed of `good`.
    ahead = standing({"good": GOOD[:2], "near": [*NEAR], "bad": BAD[:2]})
    assert ahead.num_seeds == {"good": 3, "near": 3, "bad": 2}
    # A lower number that failed is not waited for.
    assert standing({"gone": [None], "near": [*NEAR]}).num_seeds == {"gone": 2, "near": 5}


def test_if_none_remains_those_that_were_dropped_race_among_themselves() -> None:
    values: Values = {"good": [1.0, 1.1, 1.05, None], "bad": BAD[:2], "worse": [99.0, 99.1002]}
    before = standing(values)  # more configs are to come
    assert (before.remaining, before.is_over) == ((), True)
    assert before.num_seeds == {"good": 4, "bad": 2, "worse": 2}
    back = standing(values, replace(RACE, num_configs=3))
    assert back.num_seeds == {"good": 4, "bad": 3, "worse": 2}
    assert (back.remaining, back.is_over) == (("bad",), False)
    assert [(drop.config_id, drop.leader) for drop in back.drops] == [
        ("bad", "good"), ("worse", "good"), ("worse", "bad"),
    ]  # fmt: skip
    assert back.dropped["worse"].leader == "bad"
    values["bad"] = [*BAD]
    whole = standing(values, replace(RACE, num_configs=3))
    assert (whole.remaining, whole.is_over) == (("bad",), True)


def test_a_race_in_which_nothing_finishes_ends() -> None:
    race = standing({"a": [None, 1.0], "b": [None, None]}, replace(RACE, num_configs=2))
    assert (race.is_over, race.remaining) == (True, ())


def test_no_config_is_dropped_that_is_no_worse_whatever_the_error() -> None:
    race = Race(0.999, 2, (0, 1, 2), 3)
    decided = standing({"a": [1.0, 2.0, 3.0], "same": [1.0, 2.0, 3.0], "better": [0.9, 1.8, 2.9]}, race)
    assert decided.drops == ()


def test_the_test_is_that_of_a_grid_against_the_best_before() -> None:
    random = np.random.default_rng(0)
    for rounded in (False, True):
        values = random.normal(size=(8, 4)) + 5 * np.arange(4)
        values = np.round(values * 4) / 4 if rounded else values
        leaders, worse, p = worse_than_earlier(values)
        assert (leaders[0], p[0]) == (0, 1)
        for one in range(1, len(values)):
            best = int(values[:one].mean(axis=1).argmin())
            leader, differences, expected = worse_than_leader(values[: one + 1])
            assert leaders[one] == best
            if leader == one:
                assert p[one] == 1
                assert worse[one] <= 0
            else:
                assert (worse[one], p[one]) == pytest.approx((differences[one], expected[one]))


@pytest.mark.parametrize("seed", range(40))
def test_no_order_of_rows_changes_a_decision_and_what_is_known_earlier_is_a_part(seed: int) -> None:
    random = np.random.default_rng(seed)
    seeds = tuple(range(int(random.integers(4, 9))))
    race = Race(float(random.choice([0.05, 0.5])), int(random.integers(2, 4)), seeds, 100)
    values = drawn(random, race)
    configs = list(values)
    every = [(one, place) for one in configs for place in range(len(race.seeds))]
    whole = replay_proposals(race, configs, of_trials(values, race, every))
    assert whole.is_over
    # What the race did not ask for decides nothing.
    asked = [(one, place) for one in configs for place in range(whole.num_seeds[one])]
    assert replay_proposals(race, configs, of_trials(values, race, asked)) == whole
    before = replay_proposals(race, configs, {})
    for order in (asked, random.permutation(len(asked))):
        known = [asked[int(i)] for i in order] if order is not asked else asked
        for count in range(len(known) + 1):
            now = replay_proposals(race, configs, of_trials(values, race, known[:count]))
            assert set(now.drops) <= set(whole.drops)
            assert set(whole.remaining) <= set(now.remaining)
            assert len(set(now.remaining)) == len(now.remaining)
            if count:
                assert set(before.drops) <= set(now.drops)
                assert now.num_rounds >= before.num_rounds
                assert all(now.num_seeds[one] >= before.num_seeds[one] for one in configs)
            before = now
        assert before == whole
    # A config decides nothing about those before it.
    for count in range(len(configs)):
        fewer = replay_proposals(race, configs[:count], of_trials(values, race, every))
        assert fewer.dropped == {one: drop for one, drop in whole.dropped.items() if one in configs[:count]}


@pytest.mark.parametrize("seed", range(20))
def test_a_race_that_is_driven_trial_by_trial_ends_and_asks_for_no_trial_of_a_dropped_config(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    race = Race(0.5, 2, tuple(range(6)), 100)
    values = drawn(random, race)
    race = replace(race, num_configs=len(values))
    configs, known, proposed = list(values), list[tuple[str, int]](), 1
    while True:
        now = replay_proposals(race, configs[:proposed], of_trials(values, race, known))
        todo = [(one, i) for one in configs[:proposed] for i in range(now.num_seeds[one]) if (one, i) not in known]
        gone = {one for one in configs[:proposed] if one not in now.remaining}
        assert all(one not in gone or None in [values[one][i] for i in range(now.num_seeds[one])] for one, _ in todo)
        if proposed < len(configs) and (not todo or random.random() < 0.3):
            proposed += 1
        elif todo:
            known.append(todo[int(random.integers(len(todo)))])
        else:
            break
    assert now.is_over
    assert all(now.num_seeds[one] == 6 for one in now.remaining)


@pytest.mark.parametrize(("number", "num_seeds"), [(1, 3), (4, 5), (9, 10)])
def test_levels_of_all_tests_of_one_config_add_up_to_the_error(number: int, num_seeds: int) -> None:
    values: Values = {f"c{i}": [float(i == number) + 0.01 * i * j for j in range(num_seeds)] for i in range(10)}
    race = Race(0.4, 2, tuple(range(num_seeds)), 10)
    [drop] = [drop for drop in standing(values, race).drops if drop.config_id == f"c{number}"]
    assert drop.level * (num_seeds - 2) * number == pytest.approx(0.4)
    assert drop.level == level(0.4, num_seeds - 2, number + 1)


def test_the_best_of_equal_configs_is_dropped_no_more_often_than_stated() -> None:
    random, race, dropped = np.random.default_rng(1), Race(0.1, 2, tuple(range(5)), 4), np.zeros(4)
    for _ in range(1500):
        noise = random.normal(size=(4, 5))
        values = {f"c{i}": dict(enumerate(row)) for i, row in enumerate(noise.tolist())}
        decided = replay_proposals(race, list(values), values).dropped
        dropped += [f"c{i}" in decided for i in range(4)]
    assert dropped[0] == 0
    assert all(dropped <= 0.1 * 1500)
    assert all(dropped[1:] > 0)  # it is a test, not a refusal


def test_the_least_number_of_trials_is_reached() -> None:
    values: Values = {"good": [*GOOD], "bad": [*BAD], "worse": [value + 1 for value in BAD]}
    assert sum(standing(values, replace(RACE, error=0.5)).num_seeds.values()) == fewest_trials(RACE, 3)


def test_the_mean_that_a_config_would_have_does_not_depend_on_which_seeds_came_first() -> None:
    effects, means = np.array([5.0, -3.0, 0.0, 1.0, 10.0]), np.array([2.0, 7.0, 1.0])
    whole = (means[:, None] + effects).tolist()
    assert expected_mean((4.0 + effects[:2]).tolist(), whole) == pytest.approx(4.0 + effects.mean())
    assert expected_mean([4.0, 6.0], []) == 5.0


def test_values_count_up_to_the_first_seed_that_has_not_finished() -> None:
    assert finished_values({7: 1.0, 3: 2.0, 0: 9.0}, SEEDS) == [1.0, 2.0]
    assert finished_values({3: 1.0}, SEEDS) == []
    assert finished_values({7: 1.0, 3: None, 5: 2.0}, SEEDS) == [1.0]
