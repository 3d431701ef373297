"""Descriptions of runs, in Markdown, as MLflow shows them on a run's page."""

from collections.abc import Iterable, Mapping
from typing import Any

from raysl.outgoing.harmless import one_line
from raysl.results.criteria import CRITERIA, VOTE
from raysl.results.metrics import METRIC_COLUMNS, METRICS
from raysl.statistics.intervals import half_width

_VALUES: dict[str, str] = {
    "final_loss": "final loss",
    **{metric.probe: f"probe {metric.words}" for metric in METRICS},
    **{metric.test: f"test {metric.words}" for metric in METRICS},
    **{one.name: one.words for one in CRITERIA},
    VOTE: "mean rank",
}


def stage_note(
    about: Mapping[str, Any],
    selection: Mapping[str, Any],
    selected: str,
    config: Mapping[str, Any],
    folder: str,
    trials: Iterable[Mapping[str, Any]],
    ties: str = "",
) -> str:
    """Return a stage's description: what was trained, what was selected and why, with which code, and where it is.

    about: its method, backbone, source and labels.  selection: its row of the table of selections.
    selected, config: name of the selected config and its row of the table of configs; empty if none was eligible.
    trials: the stage's rows of the table of trials.  ties: its tie set in words.
    """
    rows = list(trials)
    are_independent = all(row.get("seed_design") is None for row in rows)
    facts = {
        "selected": selected or "none",
        "reason": selection["reason"],
        "tie set": ties.removeprefix("tie set: "),
        "rule": selection["rule"],
        **{title: _spread(config, column, are_independent) for column, title in _VALUES.items()},
        "method": about.get("method"),
        "backbone": about.get("backbone"),
        "data": about.get("source"),
        "labelled images": about.get("labels"),
        "attack": about.get("attack"),
        "raysl": _distinct(row["raysl_version"] for row in rows),
        "code": _distinct(row["code"] for row in rows),
        "results": folder,
    }
    return "\n".join(f"- **{name}**: {_escaped(value)}" for name, value in facts.items() if value not in (None, ""))


def _spread(config: Mapping[str, Any], column: str, are_independent: bool) -> str:
    """Return `mean ± standard deviation, 95 % t interval LOW to HIGH`; empty if there is no mean.

    are_independent: whether the seeds are; there is no interval otherwise.
    """
    mean, deviation = config.get(f"{column}_mean"), config.get(f"{column}_std")
    if mean is None:
        return ""
    if deviation is None:
        return f"{mean:.6g}"
    if not are_independent:
        return f"{mean:.6g} ± {deviation:.6g}"
    half = half_width(deviation, config["num_seeds"])
    low, high = mean - half, mean + half
    if column in METRIC_COLUMNS:
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{mean:.6g} ± {deviation:.6g}, 95 % t interval {low:.4g} to {high:.4g}"


def _distinct(values: Iterable[str | None]) -> str:
    return ", ".join(sorted({value for value in values if value}))


def _escaped(value: object) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|!" else letter for letter in one_line(str(value)))
