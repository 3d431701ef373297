"""The decisions of a race whose configs are proposed one by one.  Pure functions of values by seed.

Configs are numbered in the order in which they were proposed.  Each gets the first seeds, and then one more at a time
until it is dropped or has all.  With s seeds it is tested against the leader at s: of the configs with lower numbers
that have their first s seeds finished, the one with the best mean over these.  The test is that of `race`; the level of
the config of number k, of which k are before it, is

    error / (looks x k).

It decides as soon as no lower number can change the leader any more: each has its first s seeds finished, or is out.
So neither the order in which trials end nor configs that are proposed later change a decision, and a search that goes
on to more configs keeps all that it has decided.

What is controlled, if the noise that configs do not share is normal, of one deviation, and new for each config:

- A config that is truly no worse than those before it is dropped with a probability of at most `error`: by Boole's
  inequality over its leaders and looks, as in `race`.  The proposal may depend on the results of those before it: the
  noise of the config itself is new, and with a truly better one the t of the test is only smaller.
- So the best of configs that do not depend on results, as random ones, is dropped with at most `error`.
- Which of a sampler's configs is the best may depend on whether it was dropped: a search may find better ones where it
  was kept.  A bound whatever the sampler does is `error` for each proposal.  What samplers lose is measured by
  `tests/benchmarks/races_of_proposals.py`.
"""

import itertools
import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysl.results.records.stages import Race
from raysl.search.race import SAME, Drop, Ended, Standing, level, paired_p


def replay_proposals(race: Race, configs: Sequence[str], ended: Ended) -> Standing:
    """Return all that can be decided, in whatever order trials have ended.

    A config with a seed that did not finish leaves the race.  If none remains when all are proposed, those that were
    dropped race again, among themselves: what they were compared with is no choice any more.

    configs: ids in the order of the proposals.
    """
    num_seeds = dict.fromkeys(configs, race.first)
    numbers = {one: number for number, one in enumerate(configs)}
    drops, waiting = list[Drop](), list[str]()
    going_on, num_decided = list(configs), 0
    for given in range(race.first, len(race.seeds) + 1):
        num_seeds |= dict.fromkeys(going_on, given)
        finished, unsettled = _settled(going_on, ended, race.seeds[:given])
        found = _worse(race, numbers, finished, ended, given) if given < len(race.seeds) else []
        worse = {drop.config_id for drop in found}
        going_on = [one for one in finished if one not in worse]
        drops, waiting, num_decided = drops + found, waiting + unsettled, num_decided + len(finished)
    dropped = {drop.config_id: drop for drop in drops}
    remaining = tuple(sorted((*going_on, *waiting), key=numbers.__getitem__))
    if not remaining and dropped and len(configs) == race.num_configs:
        back = sorted(dropped, key=numbers.__getitem__)
        again = replay_proposals(replace(race, num_configs=len(back)), back, ended)
        counts = num_seeds | {one: max(num_seeds[one], count) for one, count in again.num_seeds.items()}
        return replace(again, num_seeds=counts, drops=(*drops, *again.drops), num_rounds=num_decided + again.num_rounds)
    return Standing(num_seeds, remaining, tuple(drops), dropped, num_decided, not waiting)


def expected_mean(values: Sequence[float], whole: Sequence[Sequence[float]]) -> float:
    """Return the mean over all seeds that a config would have.

    It is its own mean, plus how much worse others are over all seeds than over these: seeds may be easy or hard.

    values: of its first seeds.  whole: of the configs that have all seeds, if there are any.
    """
    harder = [statistics.fmean(other) - statistics.fmean(other[: len(values)]) for other in whole]
    return statistics.fmean(values) + (statistics.fmean(harder) if harder else 0.0)


def finished_values(ended: Mapping[int, float | None], seeds: Sequence[int]) -> list[float]:
    """Return a config's values of the first seeds, up to one that has not finished."""
    values = (ended.get(seed) for seed in seeds)
    return [value for value in itertools.takewhile(lambda one: one is not None, values) if value is not None]


def worse_than_earlier(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return, for each config, the leader's index among those before it, the mean by which it is worse, and its p.

    values: configs x seeds, in the order of the proposals; lower is better.
    p: one-sided; 1 for a config that is no worse, and for the first, which leads itself.
    """
    means = values.mean(axis=1)
    best = np.minimum.accumulate(means)
    leads = np.concatenate([[True], means[1:] < best[:-1]])  # of equal means, the first
    latest = np.maximum.accumulate(np.where(leads, np.arange(len(values)), 0))
    leaders = np.concatenate([[0], latest[:-1]])
    differences = values - values[leaders]
    worse = differences.mean(axis=1)
    return leaders, worse, np.where(worse > 0, paired_p(differences, _smallest_steps(values)), 1.0)


def _settled(configs: Sequence[str], ended: Ended, seeds: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return the configs that can be tested over some seeds, and those that wait for a seed of theirs or before them.

    A config with a seed that did not finish is neither.
    """
    finished, waiting = list[str](), list[str]()
    for one in configs:
        own = ended.get(one, {})
        if any(seed in own and own[seed] is None for seed in seeds):
            continue
        if waiting or any(seed not in own for seed in seeds):
            waiting.append(one)
        else:
            finished.append(one)
    return finished, waiting


def _worse(race: Race, numbers: dict[str, int], finished: Sequence[str], ended: Ended, given: int) -> list[Drop]:
    """Return the configs that are dropped with so many seeds."""
    if len(finished) < 2:
        return []
    values = np.array([[ended[one][seed] for seed in race.seeds[:given]] for one in finished], dtype=np.float64)
    num_looks = len(race.seeds) - race.first
    leaders, worse, p = worse_than_earlier(values)
    levels = [level(race.error, num_looks, numbers[one] + 1) for one in finished]
    return [
        Drop(one, given - race.first + 1, given, finished[leaders[i]], float(worse[i]), float(p[i]), levels[i])
        for i, one in enumerate(finished)
        if p[i] <= levels[i]
    ]


def _smallest_steps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each config, the smallest step between two values of it and those before it; 0 if all are equal."""
    known, found = list[float](), list[float]()
    smallest, largest = math.inf, 0.0
    for row in values.tolist():
        largest = max(largest, *map(abs, row))
        for value in row:
            place = bisect_left(known, value)
            for other in known[max(place - 1, 0) : place + 1]:
                if (step := abs(value - other)) > SAME * largest:
                    smallest = min(smallest, step)
            known.insert(place, value)
        found.append(smallest if math.isfinite(smallest) else 0.0)
    return np.array(found)
