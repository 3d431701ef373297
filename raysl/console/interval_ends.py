"""The intervals of configs' means, from the values of their trials."""

from collections.abc import Iterable, Mapping
from typing import Any

from raysl.results.criteria import CRITERION_NAMES
from raysl.results.metrics import METRIC_COLUMNS
from raysl.statistics.intervals import INTERVALS, Interval

COLUMNS = ("final_loss", *METRIC_COLUMNS, *CRITERION_NAMES)


def interval_ends(trials: Iterable[Mapping[str, Any]], kind: str) -> dict[str, dict[str, Interval]]:
    """Return the 95 % intervals of the means of each config, by column; those of fractions end at 0 and 1.

    A column has none where a trial lacks a value, or is the only one.
    trials: rows of the table of trials of one stage.  kind: one of `INTERVALS`.
    """
    configs: dict[str, list[Mapping[str, Any]]] = {}
    for trial in trials:
        configs.setdefault(trial["config_id"], []).append(trial)
    return {config_id: dict(_ends(own, kind)) for config_id, own in configs.items()}


def _ends(trials: list[Mapping[str, Any]], kind: str) -> Iterable[tuple[str, Interval]]:
    for column in COLUMNS:
        values = [trial[column] for trial in trials if trial[column] is not None]
        if len(values) == len(trials) > 1:
            low, high = INTERVALS[kind](values)
            yield column, (max(low, 0.0), min(high, 1.0)) if column in METRIC_COLUMNS else (low, high)
