"""Contestants against each other: paired differences, corrected for several, and several data sets together."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysl.reports.contestants import ComparedTask
from raysl.reports.searched import MEASURES
from raysl.reports.seeds_needed import detectable
from raysl.statistics.intervals import INTERVALS, Interval
from raysl.statistics.paired import ERROR, ROUNDING, Reals, holm, p_values
from raysl.statistics.whole_tables import improvement, iqm, stratified_interval


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two contestants on one task.

    first, second: their places.  differences: first less second by seed, in what the measure is shown in.
    p: of a paired t test, corrected for all comparisons (Holm).  improvement: the probability that a trial of the first
    is better than one of the second.
    interval, p, detectable: None for one seed; interval, detectable: None where all differences are equal.
    detectable: the least difference that the test, at its strictest, would find with 80 % power.
    """

    task: ComparedTask
    first: int
    second: int
    differences: tuple[float, ...]
    interval: Interval | None
    p: float | None
    improvement: float
    detectable: float | None

    @property
    def mean(self) -> float:
        """Mean of the differences."""
        return float(np.mean(self.differences))


@dataclass(frozen=True, eq=False)
class Overall:
    """All tasks together.

    iqms: of each contestant: the interquartile mean, and its interval.
    improvements: by the places of two: the probability that the first is better, averaged over the tasks.
    """

    iqms: tuple[tuple[float, Interval], ...]
    improvements: dict[tuple[int, int], tuple[float, Interval]]


def is_highest(column: str) -> bool:
    """Return whether a greater value of a column is better."""
    return MEASURES[column].highest


def compare(tasks: Sequence[ComparedTask], kind: str) -> list[Comparison]:
    """Return each pair of contestants on each task.  kind: of the intervals (`INTERVALS`)."""
    pairs = [(task, *pair) for task in tasks for pair in itertools.combinations(range(len(task.values)), 2)]
    differences = [task.values[first] - task.values[second] for task, first, second in pairs]
    p = holm(p_values(_padded(differences)))
    return [
        _comparison(task, first, second, own, float(p[place]), kind, len(pairs))
        for place, ((task, first, second), own) in enumerate(zip(pairs, differences, strict=True))
    ]


def overall(tasks: Sequence[ComparedTask]) -> Overall:
    """Return what contestants come to over several tasks, with 95 % intervals of the stratified bootstrap."""
    every = range(len(tasks[0].values))
    shown = [[task.values[place] for task in tasks] for place in every]
    iqms = tuple((float(iqm(own)), stratified_interval(iqm, own)) for own in shown)
    better = [[_better(task)[place] for task in tasks] for place in every]
    improvements = {
        (first, second): (
            float(improvement(better[first], better[second])),
            stratified_interval(improvement, better[first], better[second]),
        )
        for first, second in itertools.combinations(every, 2)
    }
    return Overall(iqms, improvements)


def interval(values: Sequence[float] | Reals, kind: str) -> Interval | None:
    """Return the interval of a mean; None for one value, or equal ones, which say nothing of their spread."""
    if len(values) < 2 or np.std(values) <= ROUNDING * abs(np.mean(values)):
        return None
    return INTERVALS[kind](list(values))


def _comparison(
    task: ComparedTask, first: int, second: int, differences: Reals, p: float, kind: str, num: int
) -> Comparison:
    better = _better(task)
    num_seeds = len(task.seeds)
    found = interval(differences, kind)
    return Comparison(
        task=task,
        first=first,
        second=second,
        differences=tuple(differences.tolist()),
        interval=found,
        p=p if num_seeds > 1 else None,
        improvement=float(improvement([better[first]], [better[second]])),
        detectable=None if found is None else detectable(float(np.std(differences, ddof=1)), num_seeds, ERROR / num),
    )


def _better(task: ComparedTask) -> Reals:
    """Return the values such that a greater one is better."""
    return task.values if is_highest(task.column) else -task.values


def _padded(rows: Sequence[Reals]) -> Reals:
    width = max(map(len, rows))
    return np.array([[*row, *[np.nan] * (width - len(row))] for row in rows])
