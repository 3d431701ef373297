"""How many seeds would tell a stage's selected config from the next best."""

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from shlex import quote

import numpy as np
from scipy import optimize, stats

from raysl.reports.pairs import Pair, pairs
from raysl.reports.searched import own_trials
from raysl.reports.stages import Row, Searched
from raysl.statistics.paired import ERROR, ROUNDING

POWER = 0.8
MOST_SEEDS = 1000
QUANTILES = 2000
_LARGEST = 1e6  # effect, which even two seeds show at any error that is asked for


@dataclass(frozen=True, eq=False)
class BestTwo:
    """A stage's selected config and the next best.

    pair: the next best against the selected one, by seed.
    needed: the least number of seeds at which a paired t test of the stated error finds the difference with the stated
        power, if mean and deviation of the differences are what they are now; None above `MOST_SEEDS`.
    """

    stage: Searched
    selected: Row
    pair: Pair
    needed: int | None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that both were trained with."""
        own, other = ({trial["seed"] for trial in own_trials(self.stage, one)} for one in (self.selected, self.next))
        return tuple(sorted(own & other))

    @property
    def next(self) -> Row:
        """The next best config."""
        return self.pair.config

    @property
    def num_trials(self) -> int:
        """Trials of both configs that are missing for the number of seeds that is needed.

        In a cross-fitted stage a seed has a trial for each fold, and the selected config one with all labels.
        """
        folds = self.stage.trials[0]["folds"]
        return (2 if folds is None else 2 * len(folds) + 1) * max(0, (self.needed or 0) - len(self.seeds))

    @property
    def seconds(self) -> float | None:
        """The training time of the missing trials; None where it was not recorded."""
        each = [config["seconds_mean"] for config in (self.selected, self.next)]
        return None if None in each else self.num_trials * statistics.fmean(each)


def best_two(stage: Searched) -> BestTwo:
    """Return a stage's two best configs; `pairs.obstacle` says why a stage has none to compare."""
    pair = pairs(stage)[0]
    selected = next(config for config in stage.configs if config["selected"])
    return BestTwo(stage, selected, pair, seeds_needed(pair.mean, statistics.stdev(pair.differences)))


def options(one: BestTwo) -> list[str]:
    """Return the options of `raysl tune` that train what is missing, and nothing else where the configs allow it."""
    assert one.needed is not None, "others need more than any search has"
    seeds = list(one.seeds)
    more = [seed for seed in range(one.needed + len(seeds)) if seed not in seeds]
    wanted = seeds + more[: max(0, one.needed - len(seeds))]
    is_range = sorted(wanted) == list(range(len(wanted)))
    found = [f"--set seeds={len(wanted) if is_range else quote(str(wanted).replace(' ', ''))}"]
    differing = [key for key in one.selected if key.startswith("params.") and one.selected[key] != one.next[key]]
    if len(differing) == 1:
        [key] = differing
        values = f"{{grid: [{one.selected[key]}, {one.next[key]}]}}"
        found.append(f"--set {quote(f'{one.stage.setting(key)}={values}')}")
    return found


def seeds_needed(mean: float, std: float) -> int | None:
    """Return the least number of seeds whose paired t test has the power; None above `MOST_SEEDS`.

    Of equal differences it is the least number that the sign test needs, as `p_values` takes it for them.
    mean, std: of the differences.
    """
    if mean == 0:
        return None
    if std <= ROUNDING * abs(mean):
        return math.ceil(1 - math.log2(ERROR))
    return _least(abs(mean) / std)


def power(effect: float, num_seeds: int, error: float = ERROR) -> float:
    """Return the probability that a paired t test finds a difference (Cohen 1988, chapter 2).

    effect: the mean of the differences over their standard deviation.  error: two-sided, of the test.
    """
    freedom = num_seeds - 1
    bound, shift = stats.t.ppf(1 - error / 2, freedom), effect * num_seeds**0.5
    # By the quantiles of the deviation: scipy's noncentral t is not a number far from its centre.
    deviations = np.sqrt(stats.chi2.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, freedom) / freedom)
    found = stats.norm.cdf(shift - bound * deviations) + stats.norm.cdf(-shift - bound * deviations)
    return float(found.mean())


def detectable(std: float, num_seeds: int, error: float = ERROR) -> float:
    """Return the least mean difference that a paired t test finds with the power.

    std: of the differences, which must be that of two seeds and more.
    """
    return std * float(optimize.brentq(lambda effect: power(effect, num_seeds, error) - POWER, 0.0, _LARGEST))


@lru_cache
def _least(effect: float) -> int | None:
    low, high = 1, MOST_SEEDS
    if power(effect, high) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle) >= POWER else (middle, high)
    return high
