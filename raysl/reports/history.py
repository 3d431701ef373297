"""The objective of a stage's configs in the order of the search, and the best value so far."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from raysl.reports import axes, figures, ineligible
from raysl.reports.searched import MEASURES, is_grid, measured, rule_of
from raysl.reports.stages import Searched

NOTE = "Dots: means of configs over the seeds, in the order of the search; line: the best so far"
FEWEST = 3
TOP = 0.95  # height in the axes where ineligible configs are marked
DOT: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linestyle": ""}


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    rule = rule_of(stage)
    if rule is None:
        return "nothing is selected yet"
    if is_grid(stage):
        return "all combinations of the searched values were tried, in no order that matters"
    found = len(measured(stage, rule.column))
    return "" if found >= FEWEST else f"{found} eligible configs, and {FEWEST} are needed"


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage."""
    marks: list[tuple[Any, str]] = [
        ({"color": figures.PALETTE[0], **DOT}, "a config"),
        ({"color": figures.PALETTE[6]}, "best so far"),
        (figures.SELECTED, "selected"),
        *ineligible.legend(stages),
    ]
    words = [meaning for _, meaning in marks]
    height = figures.PANEL_HEIGHT + figures.title_height(names)
    figure, places = figures.panels(len(stages), note, height=height, legend=words)
    for panel, name, stage in zip(places, names, stages, strict=True):
        _draw_panel(panel, stage)
        figures.set_title(panel, name)
    handles: list[Artist] = [Line2D([], [], **{"color": figures.INK, **style}) for style, _ in marks]
    figures.legend_below(places[0], handles, words)
    return figure


def _draw_panel(panel: Axes, stage: Searched) -> None:
    rule = rule_of(stage)
    assert rule is not None, "others have an obstacle"
    factor, column = MEASURES[rule.column].factor, f"{rule.column}_mean"
    number = {config["config_id"]: place for place, config in enumerate(stage.configs, 1)}
    configs = measured(stage, rule.column)
    values = [factor * float(config[column]) for config in configs]
    places = [number[config["config_id"]] for config in configs]
    best = accumulate(values, max if rule.highest else min)
    panel.step(
        [*places, len(stage.configs)],
        [*best, max(values) if rule.highest else min(values)],
        where="post",
        color=figures.PALETTE[6],
    )
    for place, value, config in zip(places, values, configs, strict=True):
        [dot] = panel.plot(place, value, color=figures.PALETTE[0], **DOT)
        figures.of_config(dot, config["config_id"])
        if config["selected"]:
            panel.plot(place, value, zorder=3, **figures.SELECTED)
    for config in stage.configs:
        if not config["eligible"]:
            ineligible.mark(panel, stage, config, number[config["config_id"]], TOP, figures.INK)
    panel.set_xlabel("config, in the order of the search")
    panel.set_ylabel(MEASURES[rule.column].words)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.margins(y=0.15)
    if factor == 100:
        axes.end_at_100(panel)
    else:
        axes.set_log_if_wide(panel, values)
