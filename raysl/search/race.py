"""The decisions of a race: which configs get another seed, and which are dropped.  Pure functions of values by seed.

Every config gets the first seeds.  Then, round by round, each config that is still in gets one more, the same for all.
After a round the config of the best mean over its seeds leads.  Every other one is tested against it: a one-sided t
test of their differences, paired by seed.  A config is dropped if p is at most the level

    error / (looks x (configs - 1)),    looks: the rounds before the last seed.

Why the truly best config is dropped with a probability of at most `error`: the true mean of whichever config leads is
no better than its own, so each null hypothesis that it is tested against is true.  It is dropped only if one of these
looks x (configs - 1) tests rejects, and by Boole's inequality that is no more probable than the sum of their levels.
This holds however rounds and configs depend on each other: a seed may be easy or hard for all configs.  No test comes
after the last seed, where nothing is left to save.  The number of configs counts once, not for each pair, because the
bound is on the best config alone.  (It is Bonferroni's correction over leaders, and constant spending over looks.)

Assumption: the differences of two configs are independent over seeds and normal.  `tests/benchmarks/races.py` measures
what happens otherwise.  Values may be rounded, as accuracies of few images are, and a few equal differences would look
like certainty: their standard deviation counts as no less than the smallest step between two values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysl.results.records.stages import Race

SAME = 1e-9  # values that differ by no more, relative to the largest, are equal: means of rounded numbers

Ended = Mapping[str, Mapping[int, float | None]]  # by config id and seed: lower is better; None if it did not finish


@dataclass(frozen=True)
class Drop:
    """A config that was dropped.

    number: of the round, from 1.  num_seeds: of each of both.  leader: the config id of the best.
    difference: the mean over the seeds by which it is worse.  level: what p had to be at most.
    """

    config_id: str
    number: int
    num_seeds: int
    leader: str
    difference: float
    p: float
    level: float


@dataclass(frozen=True)
class Standing:
    """A race so far.

    num_seeds: by config id, in the order of the search: how many of the race's seeds it gets so far.
    remaining: configs that are still in.
    drops: all, in the order of the decisions.  dropped: those that stand, by config id.
    num_rounds: that are decided; where configs are proposed one by one, of each config.
    """

    num_seeds: Mapping[str, int]
    remaining: tuple[str, ...]
    drops: tuple[Drop, ...]
    dropped: Mapping[str, Drop]
    num_rounds: int
    is_over: bool


def replay(race: Race, configs: Sequence[str], ended: Ended) -> Standing:
    """Return what all rounds decide that have ended, in whatever order their trials have.

    A config with a seed that did not finish leaves the race, as it leaves every selection.  The last one that remains
    gets all seeds, so that it is reported, scored and started from like the config of a whole grid.  If none remains,
    those come back that were dropped: what they were compared with is no choice any more.

    configs: ids in the order of the search, of which the first leads among equals.
    """
    num_seeds = dict.fromkeys(configs, min(race.first, len(race.seeds)))
    remaining, drops, dropped = list(configs), list[Drop](), dict[str, Drop]()
    given, number = min(race.first, len(race.seeds)), 0
    is_over = False
    while not is_over and all(seed in ended.get(one, {}) for one in remaining for seed in race.seeds[:given]):
        remaining = [one for one in remaining if None not in (ended[one][seed] for seed in race.seeds[:given])]
        if not remaining and dropped:
            remaining, dropped = [one for one in configs if one in dropped], {}
            num_seeds |= dict.fromkeys(remaining, given)
            continue
        number += 1
        if given < len(race.seeds):
            found = _worse(race, len(configs), remaining, ended, given, number)
            drops += found
            dropped |= {drop.config_id: drop for drop in found}
            remaining = [one for one in remaining if one not in dropped]
        is_over = given == len(race.seeds) or not remaining
        if not is_over:
            given = len(race.seeds) if len(remaining) == 1 else given + 1
            num_seeds |= dict.fromkeys(remaining, given)
    return Standing(num_seeds, tuple(remaining), tuple(drops), dropped, number, is_over)


def level(error: float, num_looks: int, num_configs: int) -> float:
    """Return the level of each test of a race; see the module."""
    return error / (num_looks * max(1, num_configs - 1))


def fewest_trials(race: Race, num_configs: int) -> int:
    """Return the least number of trials of a race: all configs but one are dropped when they have the first seeds."""
    return num_configs * race.first + len(race.seeds) - race.first


def worse_than_leader(values: NDArray[np.float64]) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Return the leader's index, the mean by which each config is worse, and its one-sided p, 1 for the leader.

    values: configs x seeds, at least 2 of each; lower is better.
    """
    leader = int(values.mean(axis=1).argmin())
    differences = values - values[leader]
    p = paired_p(differences, np.full(len(values), _smallest_step(values)))
    p[leader] = 1.0
    return leader, differences.mean(axis=1), p


def paired_p(differences: NDArray[np.float64], floors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the one-sided p of a t test for each row of differences (rows x seeds): whether their mean is above 0.

    floors: of each row, what the standard deviation counts as at least; p is 1 where both are 0.
    """
    from scipy.special import stdtr  # takes a while to import

    count = differences.shape[1]
    spread = np.maximum(differences.std(axis=1, ddof=1), floors)
    t = np.zeros(len(differences))
    np.divide(differences.mean(axis=1) * count**0.5, spread, out=t, where=spread > 0)
    return np.where(spread > 0, stdtr(count - 1, -t), 1.0)


def _smallest_step(values: NDArray[np.float64]) -> float:
    steps = np.diff(np.unique(values))
    steps = steps[steps > SAME * np.abs(values).max()]
    return float(steps.min()) if len(steps) else 0.0


def _worse(race: Race, num_configs: int, remaining: Sequence[str], ended: Ended, given: int, number: int) -> list[Drop]:
    """Return the configs that are dropped after a round; num_configs: of the whole race."""
    if len(remaining) < 2:
        return []
    values = np.array([[ended[one][seed] for seed in race.seeds[:given]] for one in remaining], dtype=np.float64)
    most = level(race.error, len(race.seeds) - race.first, num_configs)
    leader, worse, p = worse_than_leader(values)
    return [
        Drop(one, number, given, remaining[leader], float(worse[i]), float(p[i]), most)
        for i, one in enumerate(remaining)
        if p[i] <= most
    ]
