"""The intervals of configs' means, from the values of their trials."""

from collections.abc import Iterable, Mapping
from typing import Any

from raysl.results.criteria import CRITERION_NAMES
from raysl.results.metrics import METRIC_COLUMNS
from raysl.results.records.seed_design import dependence_text
from raysl.statistics.intervals import INTERVALS, WORDS, Interval

COLUMNS = ("final_loss", *METRIC_COLUMNS, *CRITERION_NAMES)


def interval_ends(trials: Iterable[Mapping[str, Any]], kind: str) -> dict[str, dict[str, Interval]]:
    """Return the 95 % intervals of the means of each config, by column; those of fractions end at 0 and 1.

    A column has none where a trial lacks a value, or is the only one, or where seeds are cells of a design.
    trials: rows of the table of trials of one stage.  kind: one of `INTERVALS`.
    """
    configs: dict[str, list[Mapping[str, Any]]] = {}
    for trial in trials:
        if trial["seed_design"] is None:
            configs.setdefault(trial["config_id"], []).append(trial)
    return {config_id: dict(_ends(own, kind)) for config_id, own in configs.items()}


def brackets_text(trials: Iterable[Mapping[str, Any]], kind: str) -> str:
    """Return what the intervals of a stage are, or why it has none."""
    design = next(trial["seed_design"] for trial in trials)
    return f"brackets: {WORDS[kind]}" if design is None else f"no intervals: {dependence_text(design)}"


def _ends(trials: list[Mapping[str, Any]], kind: str) -> Iterable[tuple[str, Interval]]:
    for column in COLUMNS:
        values = [trial[column] for trial in trials if trial[column] is not None]
        if len(values) == len(trials) > 1:
            low, high = INTERVALS[kind](values)
            yield column, (max(low, 0.0), min(high, 1.0)) if column in METRIC_COLUMNS else (low, high)
