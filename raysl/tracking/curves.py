"""Curves of trials, and of configs over their seeds, as points."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from raysl.results.records.rows import CONFIDENT, SPREAD
from raysl.tracking.values import finite

TOTAL = "loss/total"
BELOW, ABOVE = f"{TOTAL}_minus_std", f"{TOTAL}_plus_std"
MOST_TERMS = 2  # whose means a config has
NAMES = {SPREAD: f"embedding/{SPREAD}", CONFIDENT: f"pseudo_labels/{CONFIDENT}"}  # of what is no loss


class Point(NamedTuple):
    """One point of a curve; `time` in unix milliseconds."""

    name: str
    value: float
    time: int
    step: int


def trial_curve(curves: pa.Table, stage_id: str, trial_id: str, start: int) -> list[Point]:
    """Return the points of a trial's curves, at the times when its epochs ended.

    curves: a table of curves that includes the trial's.  start: of the trial, in unix milliseconds.
    The curves are `loss/total`, `loss/<term>`, `schedule/lr`, `embedding/spread` of a siamese method, and
    `pseudo_labels/confident` of a method with pseudo-labels.
    """
    chosen = pc.and_(pc.equal(curves["trial_id"], trial_id), pc.equal(curves["stage_id"], stage_id))
    points, time, epoch = [], float(start), -1
    for record in curves.filter(chosen).to_pylist():
        if record["epoch"] != epoch:
            epoch = record["epoch"]
            time += 1000 * record["seconds"]
            points.append(Point("schedule/lr", record["lr"], round(time), epoch))
        name = NAMES.get(record["term"], f"loss/{record['term']}")
        points.append(Point(name, finite(record["value"]), round(time), epoch))
    return points


def config_curve(trials: Sequence[Sequence[Point]], time: int) -> list[Point]:
    """Return a config's curves over the seeds, at the epochs that all its trials have.

    trials: each trial's curves.  time: of all points, in unix milliseconds.
    `loss/total` is the mean; `loss/total_minus_std` and `loss/total_plus_std` are the mean less and plus the sample
    standard deviation (n - 1), of two seeds or more.  Of the terms, the first `MOST_TERMS` have their means.  Each name
    is a chart of its own, and with its seven single values a config has at most twelve.
    """
    if not trials:
        return []
    series = [_series(trial) for trial in trials]
    names = [name for name in series[0] if all(name in other for other in series)]
    terms = [name for name in names if name not in (TOTAL, "schedule/lr") and not _is_total(name, series)]
    points = []
    for name in [*(name for name in names if name == TOTAL), *terms[:MOST_TERMS]]:
        for step in series[0][name]:
            if all(step in other[name] for other in series):
                points += _over_seeds(name, [other[name][step] for other in series], time, step)
    return points


def _series(points: Sequence[Point]) -> dict[str, dict[int, float]]:
    series: dict[str, dict[int, float]] = {}
    for point in points:
        series.setdefault(point.name, {})[point.step] = point.value
    return series


def _is_total(name: str, series: Sequence[Mapping[str, Mapping[int, float]]]) -> bool:
    """Return whether a term is the total, as it is for a method of one term."""
    return all(trial[name] == trial.get(TOTAL) for trial in series)


def _over_seeds(name: str, values: Sequence[float], time: int, step: int) -> list[Point]:
    mean = finite(statistics.fmean(values))
    points = [Point(name, mean, time, step)]
    if name == TOTAL and len(values) > 1:
        deviation = statistics.stdev(values) if math.isfinite(mean) else mean
        points += [Point(BELOW, mean - deviation, time, step), Point(ABOVE, mean + deviation, time, step)]
    return points
