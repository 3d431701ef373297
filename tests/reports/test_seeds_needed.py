"""How many seeds tell two configs apart, and the command that trains them."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny import here, inline, write

from raysl.reports.seeds_needed import POWER, best_two, detectable, options, power, seeds_needed
from raysl.reports.stages import read_stages
from raysl.results.records.rows import read_rows
from raysl.results.storage.store import Store
from raysl.statistics.paired import ERROR, p_values

LRS = [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]


def noisy(noise: Sequence[float]) -> Callable[[dict[str, float], int], dict[str, float]]:
    """Return outcomes in which lr 0.1 is better by 2 points, and by so much more at each seed."""

    def outcome(params: dict[str, float], seed: int) -> dict[str, float]:
        better = params["optimizer.lr"] == 0.1
        return {"probe_accuracy": 0.5 + seed / 100 + better * (0.02 + noise[seed]), "seconds": 30.0}

    return outcome


@pytest.mark.parametrize(
    ("effect", "num_seeds", "expected"),
    # Cohen 1988, tables 2.3.5 for one sample: a t test of n pairs has 80 % power at these effects.
    [(0.5, 34, 0.808), (0.8, 15, 0.821), (1.0, 10, 0.803)],
)
def test_the_power_is_that_of_a_t_test(effect: float, num_seeds: int, expected: float) -> None:
    assert power(effect, num_seeds) == pytest.approx(expected, abs=2e-3)


def test_the_power_is_how_often_the_test_finds_the_difference() -> None:
    draws = np.random.default_rng(0).normal(0.7, 1.0, (20_000, 8))
    t = draws.mean(1) / (draws.std(1, ddof=1) / 8**0.5)
    assert power(0.7, 8) == pytest.approx(float((abs(t) > 2.3646).mean()), abs=0.01)


@pytest.mark.parametrize(("num_seeds", "effect"), [(34, 0.5), (15, 0.8), (10, 1.0)])
def test_what_can_be_detected_is_what_the_power_is_enough_for(num_seeds: int, effect: float) -> None:
    assert detectable(2.0, num_seeds) == pytest.approx(2.0 * effect, rel=0.03)  # Cohen's tables, as above
    assert power(detectable(1.0, num_seeds, 0.01), num_seeds, 0.01) == pytest.approx(POWER, abs=1e-4)
    assert detectable(1.0, num_seeds, 0.01) > detectable(1.0, num_seeds)
    assert detectable(1.0, 2, 0.05 / 100) > 100  # two seeds detect next to nothing


def test_the_number_is_the_least_with_the_power() -> None:
    for std in (0.3, 1.0, 2.5):
        needed = seeds_needed(1.0, std)
        assert needed is not None
        assert power(1 / std, needed) >= POWER
        assert needed == 2 or power(1 / std, needed - 1) < POWER
    assert seeds_needed(-1.0, 2.5) == seeds_needed(1.0, 2.5)


def test_no_difference_needs_more_than_any_search_has_and_no_spread_two() -> None:
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e-6, 1.0) is None
    needed = seeds_needed(1.0, 0.0)
    assert needed == 6, "2 of 2^6 signs are below 5 %, 2 of 2^5 are not"
    for num_seeds, found in ((needed - 1, False), (needed, True)):
        assert (p_values(np.full((1, num_seeds), -0.25))[0] <= ERROR) == found


def test_it_counts_the_trials_of_both_configs_that_are_missing(made: Callable[..., str]) -> None:
    uri = made(("swept", LRS, noisy([-0.02, 0.0, 0.02])), num_seeds=3)
    [stage] = read_stages([uri])
    found = best_two(stage)
    assert found.pair.differences == pytest.approx((0.0, -2.0, -4.0))
    assert found.needed == seeds_needed(2.0, 2.0) == 10
    assert found.num_trials == 2 * 7
    assert found.seconds == pytest.approx(14 * 30.0)
    assert options(found) == ["--set seeds=10", "--set 'stages.swept.optimizer.lr={grid: [0.1, 0.01]}'"]


def test_a_folder_without_a_second_seed_says_so(made: Callable[..., str]) -> None:
    ended = here("seeds", made(("swept", LRS, noisy([0.0])), num_seeds=1))
    assert ended.returncode == 2
    assert "one seed, and differences over seeds need two" in ended.stderr


@pytest.mark.slow
def test_its_command_trains_the_missing_trials_alone(tmp_path: Path) -> None:
    file = write(tmp_path)
    results = tmp_path / "results"
    inline("tune", file, "--results", results)
    told = here("seeds", results, "--format", "json")
    [semi] = [one for one in json.loads(told.stdout) if one["stage"] == "tiny/semi"]
    store = Store.open(str(results), create=False)
    before = read_rows(store)
    arguments = [part for option in semi["options"] for part in re.split(" ", option.replace("'", ""), maxsplit=1)]
    inline("tune", file, *arguments, "--results", results)
    added = [row for name, row in read_rows(store).items() if name not in before and row.method == "semi"]
    assert len(added) == semi["more_trials"]
