"""Components of variance of a balanced design of random factors, by analysis of variance, with 95 % intervals.

Each mean square is expected to be a sum of components (Searle, Casella & McCulloch 1992, "Variance Components", chapter
4), so that the components are linear in the mean squares.  Their intervals are generalised confidence intervals
(Weerahandi 1993): each mean square over its chi-squared quantity is drawn, and components are computed of the draws.
The values are taken for normal.  Of a balanced design, the estimates are those of REML where none is below 0.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raysl.statistics.intervals import RESAMPLES, SEED, Interval, percentiles

Reals = NDArray[np.float64]
Effect = tuple[int, ...]  # places of the factors that it combines


@dataclass(frozen=True)
class Component:
    """What an effect contributes to the variance of a value.

    effect: a factor, or the interaction of several; the last one is the residual too.
    freedom: degrees of freedom.  mean_square: of the effect.
    variance: 0 where the estimate is below.  share: of the sum of all components.
    """

    effect: Effect
    freedom: int
    mean_square: float
    variance: float
    variance_interval: Interval
    share: float
    share_interval: Interval


def components(values: Reals, *, nested: bool) -> list[Component]:
    """Return the components of a design, first those of the first factors, the residual last.

    values: an axis of two levels and more for each factor, one value in each cell.
    nested: whether the levels of each factor differ within each level of those before it.
    """
    effects, freedoms = _effects(values.shape, nested), _freedoms(values.shape, nested)
    squares = np.array([_sum_of_squares(values, effect, nested) for effect in effects]) / freedoms
    inverse = np.linalg.inv(_expected(values.shape, effects))
    draws = squares / _drawn(tuple(freedoms.tolist())) @ inverse.T
    found = np.maximum(inverse @ squares, 0.0)
    # Of draws that are cut off only as shares: else the whole variance could never be one component's.
    shares, drawn_shares = _shares(found), np.clip(_shares(draws), 0.0, 1.0)
    return [
        Component(
            effect=effect,
            freedom=int(freedoms[place]),
            mean_square=float(squares[place]),
            variance=float(found[place]),
            variance_interval=percentiles(np.maximum(draws[:, place], 0.0)),
            share=float(shares[place]),
            share_interval=percentiles(drawn_shares[:, place]),
        )
        for place, effect in enumerate(effects)
    ]


@lru_cache(maxsize=8)
def _drawn(freedoms: tuple[int, ...]) -> Reals:
    """Return draws of chi-squared quantities over their degrees of freedom, the same for each design of these."""
    drawn = np.random.default_rng(SEED).chisquare(freedoms, size=(RESAMPLES, len(freedoms)))
    quotients: Reals = drawn / freedoms
    return quotients


def variance_of_mean(found: Sequence[Component], levels: Sequence[int]) -> float:
    """Return the variance of the mean over a design of these numbers of levels."""
    return sum(one.variance / math.prod(levels[place] for place in one.effect) for one in found)


def _effects(levels: Sequence[int], nested: bool) -> list[Effect]:
    """Return all effects of a design; of a nested one, a factor's effect has the factors that it is nested in."""
    places = range(len(levels))
    if nested:
        return [tuple(places[: place + 1]) for place in places]
    return [effect for size in places for effect in itertools.combinations(places, size + 1)]


def _freedoms(levels: Sequence[int], nested: bool) -> NDArray[np.int64]:
    def freedom(effect: Effect) -> int:
        if nested:
            return math.prod(levels[place] for place in effect[:-1]) * (levels[effect[-1]] - 1)
        return math.prod(levels[place] - 1 for place in effect)

    return np.array([freedom(effect) for effect in _effects(levels, nested)])


def _sum_of_squares(values: Reals, effect: Effect, nested: bool) -> float:
    """Return the sum of squares over all cells of what an effect adds to the effects within it."""

    def mean_over(kept: Effect) -> Reals:
        others = tuple(place for place in range(values.ndim) if place not in kept)
        means: Reals = values.mean(axis=others, keepdims=True)
        return means

    if nested:
        deviations = mean_over(effect) - mean_over(effect[:-1])
    else:
        within = [kept for size in range(len(effect) + 1) for kept in itertools.combinations(effect, size)]
        signed = [(-1.0) ** (len(effect) - len(kept)) * mean_over(kept) for kept in within]
        deviations = np.sum(np.broadcast_arrays(*signed), axis=0)
    return float(np.sum(deviations**2) * values.size / deviations.size)


def _expected(levels: Sequence[int], effects: Sequence[Effect]) -> Reals:
    """Return the coefficients of the components in the expected mean squares, float [effects, effects].

    A component is in the mean square of each effect that it contains, as often as one of its levels has cells.
    """
    cells = math.prod(levels)
    return np.array(
        [
            [cells / math.prod(levels[place] for place in one) if set(effect) <= set(one) else 0.0 for one in effects]
            for effect in effects
        ]
    )


def _shares(variances: Reals) -> Reals:
    """Return each component over the sum of all, a sum of mean squares; 0 where nothing varies."""
    whole = variances.sum(-1, keepdims=True)
    shares: Reals = variances / np.where(whole > 0, whole, 1.0)
    return shares
