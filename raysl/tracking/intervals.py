"""The 95 % intervals of configs' means, in words: MLflow draws no intervals, and each metric is a chart."""

from collections.abc import Iterable, Mapping
from typing import Any

from raysl.results.criteria import CRITERION_NAMES
from raysl.results.metrics import METRIC_COLUMNS
from raysl.statistics.intervals import half_width

COLUMNS = ("final_loss", *METRIC_COLUMNS, *CRITERION_NAMES)


def are_independent(trials: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the seeds of trials are; the cells of a design are not.  trials: rows of the table of trials."""
    return all(trial.get("seed_design") is None for trial in trials)


def interval_text(config: Mapping[str, Any], column: str) -> str:
    """Return `LOW to HIGH`, the t interval of a mean over independent seeds; empty if there is none, or one seed.

    config: a row of the table of configs.
    """
    mean, deviation = config.get(f"{column}_mean"), config.get(f"{column}_std")
    if mean is None or deviation is None:
        return ""
    half = half_width(deviation, config["num_seeds"])
    low, high = mean - half, mean + half
    if column in METRIC_COLUMNS:
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{low:.4g} to {high:.4g}"


def interval_tag(column: str) -> str:
    """Return the tag of a column's interval, without `raysl.`."""
    return f"{column}_interval"


def interval_tags(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the intervals of a config's means by tag; seeds are independent."""
    texts = {interval_tag(column): interval_text(config, column) for column in COLUMNS}
    return {tag: text for tag, text in texts.items() if text}
