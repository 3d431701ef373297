"""How figures mark configs that no rule may choose: by what befell a seed of theirs."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from raysl.reports.stages import Row, Searched

Style = Mapping[str, Any]
DROPPED = "dropped"
# By the status of a trial, or that a race has dropped the config: of several, the first in this order counts.
MARKS: Mapping[str, tuple[Style, str]] = {
    "diverged": ({"marker": "x", "markersize": 5, "linestyle": ""}, "not eligible: a seed diverged"),
    "collapsed": ({"marker": "1", "markersize": 7, "linestyle": ""}, "not eligible: a seed collapsed"),
    "failed": ({"marker": "2", "markersize": 7, "linestyle": ""}, "not eligible: a seed failed"),
    "stopped": ({"marker": "|", "markersize": 6, "linestyle": ""}, "not eligible: a seed was stopped"),
    DROPPED: ({"marker": "v", "markersize": 4, "linestyle": ""}, "dropped by the race"),
    "": ({"marker": "+", "markersize": 6, "linestyle": ""}, "not eligible: a seed is missing"),
}


def trouble(stage: Searched, config: Row) -> str:
    """Return the key of `MARKS` that an ineligible config is marked by."""
    statuses = {trial["status"] for trial in stage.trials if trial["config_id"] == config["config_id"]}
    if config["dropped_in_round"] is not None:
        statuses.add(DROPPED)
    return next((status for status in MARKS if status in statuses), "")


def mark(panel: Axes, stage: Searched, config: Row, place: float, height: float, colour: str) -> None:
    """Mark an ineligible config; place: on the x axis.  height: in the axes, for it has no mean."""
    style, _ = MARKS[trouble(stage, config)]
    panel.plot(place, height, color=colour, transform=panel.get_xaxis_transform(), **style)


def legend(stages: Sequence[Searched]) -> list[tuple[Style, str]]:
    """Return the marks that stages need, and what they mean."""
    found = {trouble(stage, config) for stage in stages for config in stage.configs if not config["eligible"]}
    return [MARKS[status] for status in MARKS if status in found]
