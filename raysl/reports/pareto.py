"""Two objectives of a search against each other, and the configs that no other beats in both."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysl.reports import axes, figures
from raysl.reports.searched import MEASURES
from raysl.reports.stages import Row, Searched
from raysl.search.rules import OBJECTIVES

NOTE = "Means of configs over the seeds; on the front no other config is at least as good in both and better in one"
DOT: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linestyle": ""}


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    names = _objectives(stage)
    if len(names) < 2:
        return "the search has one objective"
    return "" if _measured(stage, names) else "no eligible config has both objectives"


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage, of the first two objectives of its search."""
    height = figures.PANEL_HEIGHT + figures.title_height(names)
    figure, places = figures.panels(len(stages), note, height=height)
    for panel, name, stage in zip(places, names, stages, strict=True):
        _draw_panel(panel, stage)
        figures.set_title(panel, name)
    marks = [
        ({"color": figures.PALETTE[0], "marker": "o", "markersize": 3.5}, "on the front"),
        ({"color": figures.GREY, **DOT}, "a config"),
        (figures.SELECTED, "selected"),
    ]
    figures.legend_below(places[0], [Line2D([], [], **style) for style, _ in marks], [words for _, words in marks])
    return figure


def _draw_panel(panel: Axes, stage: Searched) -> None:
    names = _objectives(stage)[:2]
    columns = [OBJECTIVES[name].column for name in names]
    points = []
    for config in _measured(stage, names):
        place = [MEASURES[column].factor * config[f"{column}_mean"] for column in columns]
        colour = figures.PALETTE[0] if config["pareto"] else figures.GREY
        [dot] = panel.plot(*place, color=colour, **DOT)
        figures.of_config(dot, config["config_id"])
        if config["selected"]:
            panel.plot(*place, **figures.SELECTED)
        if config["pareto"]:
            points.append(place)
    panel.plot(*zip(*sorted(points), strict=True), color=figures.PALETTE[0], zorder=0)
    panel.set_xlabel(MEASURES[columns[0]].words)
    panel.set_ylabel(MEASURES[columns[1]].words)
    panel.margins(0.1)
    if MEASURES[columns[1]].factor == 100:
        axes.end_at_100(panel)


def _objectives(stage: Searched) -> list[str]:
    return [name for name in stage.configs[0].get("objectives") or () if name in OBJECTIVES]


def _measured(stage: Searched, names: Sequence[str]) -> list[Row]:
    columns = [f"{OBJECTIVES[name].column}_mean" for name in names[:2]]
    return [c for c in stage.configs if c["eligible"] and all(c[column] is not None for column in columns)]
