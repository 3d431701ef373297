"""The objective over two searched hyperparameters, each on its own scale, interpolated between the configs."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raysl.reports import axes, figures
from raysl.reports.searched import MEASURES, Key, ranking, rule_of, searched_keys
from raysl.reports.stages import Searched

NOTE = (
    "Linear interpolation between the means of configs (dots), which says nothing where there are none; star: selected"
)
FEWEST, NUM_LEVELS = 4, 8


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    if rule_of(stage) is None:
        return "nothing is selected yet"
    keys = searched_keys(stage)
    if len(keys) != 2:
        names = ", ".join(key.name for key in keys) or "none"
        return f"a contour is of two searched hyperparameters, and here they are {len(keys)}: {names}"
    if words := [key.name for key in keys if not key.is_number]:
        return f"{' and '.join(words)}: no numbers"
    ranked = ranking(stage)
    points = np.array([[_scaled(key, config["config_id"]) for key in keys] for config in ranked])
    if len(ranked) < FEWEST or np.linalg.matrix_rank(points - points.mean(axis=0)) < 2:
        return f"{len(ranked)} eligible configs, and {FEWEST} that are not on a line are needed"
    return ""


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage."""
    return figures.panel_each(names, stages, note, _draw_panel, 1.15 * figures.PANEL_HEIGHT)


def _draw_panel(panel: Axes, stage: Searched) -> None:
    rule = rule_of(stage)
    assert rule is not None, "others have an obstacle"
    measure, (x, y), ranked = MEASURES[rule.column], searched_keys(stage), ranking(stage)
    values = np.array([measure.factor * config[f"{rule.column}_mean"] for config in ranked])
    is_wide = axes.is_wide(values.tolist())
    shown = np.log10(values) if is_wide else values
    across = [[_scaled(key, config["config_id"]) for config in ranked] for key in (x, y)]
    colours = "viridis" if rule.highest else "viridis_r"  # yellow is good
    drawn = panel.tricontourf(across[0], across[1], shown, levels=NUM_LEVELS, cmap=colours)
    for config, *place in zip(ranked, *across, strict=True):
        [dot] = panel.plot(*place, "o", color=figures.INK, markersize=2.5)
        figures.of_config(dot, config["config_id"])
        if config["selected"]:
            panel.plot(*place, zorder=3, **figures.SELECTED | {"markerfacecolor": figures.INK})
    for key, which, of in ((x, "x", across[0]), (y, "y", across[1])):
        _set_ticks(panel, key, which, of)
    figure = panel.get_figure(root=False)
    assert figure is not None, "it is a panel"
    bar = figure.colorbar(drawn, ax=panel)
    if is_wide:
        ticks = [
            tick for tick in MaxNLocator(4).tick_values(shown.min(), shown.max()) if shown.min() <= tick <= shown.max()
        ]
        bar.set_ticks(ticks, labels=[f"{10**tick:.2g}" for tick in ticks])
    bar.set_label(measure.words)


def _set_ticks(panel: Axes, key: Key, which: str, places: Sequence[float]) -> None:
    """Set ticks of numbers whose logarithms are drawn: the triangles are made in them."""
    ticks = axes.ticks(panel, [float(value) for value in key.values.values()], log=key.log)
    kept = [tick for tick in ticks if min(places) <= _log(key, tick) <= max(places)] or ticks
    panel.set(
        **{f"{which}ticks": [_log(key, tick) for tick in kept], f"{which}ticklabels": [f"{tick:g}" for tick in kept]}
    )
    panel.set(**{f"{which}lim": (min(places), max(places)), f"{which}label": key.name})


def _log(key: Key, value: float) -> float:
    return math.log10(value) if key.log else value


def _scaled(key: Key, config_id: str) -> float:
    return _log(key, float(key.values[config_id]))
