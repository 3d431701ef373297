"""Descriptions of runs, in Markdown, as MLflow shows them on a run's page."""

from collections.abc import Iterable, Mapping
from typing import Any

from raysl.outgoing.harmless import one_line
from raysl.results.criteria import CRITERIA, VOTE
from raysl.results.cross_fit import CROSS_FITTED
from raysl.results.metrics import METRICS
from raysl.tracking.intervals import are_independent, interval_text

_VALUES: dict[str, str] = {
    "final_loss": "final loss",
    **{metric.probe: f"probe {metric.words}" for metric in METRICS},
    **{metric.test: f"test {metric.words}" for metric in METRICS},
    CROSS_FITTED: "cross-fitted accuracy",
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
    facts = {
        "selected": selected or "none",
        "reason": selection["reason"],
        "tie set": ties.removeprefix("tie set: "),
        "rule": selection["rule"],
        **{title: _spread(config, column, are_independent(rows)) for column, title in _VALUES.items()},
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


def _spread(config: Mapping[str, Any], column: str, with_interval: bool) -> str:
    """Return `mean ± standard deviation, 95 % t interval LOW to HIGH`; empty if there is no mean."""
    mean, deviation = config.get(f"{column}_mean"), config.get(f"{column}_std")
    if mean is None:
        return ""
    spread = f"{mean:.6g}" + (f" ± {deviation:.6g}" if deviation is not None else "")
    interval = interval_text(config, column) if with_interval else ""
    return f"{spread}, 95 % t interval {interval}" if interval else spread


def _distinct(values: Iterable[str | None]) -> str:
    return ", ".join(sorted({value for value in values if value}))


def _escaped(value: object) -> str:
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|!" else letter for letter in one_line(str(value)))
