"""Parallel coordinates: a line for each config, through its searched values and the objective."""

import math
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from raysl.reports import axes, figures
from raysl.reports.crossed import level_text, levels
from raysl.reports.searched import MEASURES, Key, measured, ranking, rule_of, searched_keys
from raysl.reports.stages import Searched

NOTE = (
    "A line is a config, each value on its own scale; yellow: the best by the rule, dark: the worst, bold: the selected"
)
COLOURS = matplotlib.colormaps["viridis"]
MOST_LEVELS = 6  # named on an axis
TICK = 0.02
BEHIND = {"facecolor": "#ffffff", "alpha": 0.75, "linewidth": 0, "pad": 0.8}  # of words, above the lines
NAME_WIDTH = 14  # characters of an axis' name


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    rule = rule_of(stage)
    if rule is None:
        return "nothing is selected yet"
    if len(keys := searched_keys(stage)) < 2:
        return f"two searched hyperparameters are needed, and here is {keys[0].name if keys else 'none'}"
    return "" if len(measured(stage, rule.column)) > 1 else "fewer than two eligible configs"


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage."""
    return figures.panel_each(names, stages, note, _draw_panel, 1.15 * figures.PANEL_HEIGHT)


def _draw_panel(panel: Axes, stage: Searched) -> None:
    rule, ranked = rule_of(stage), ranking(stage)
    assert rule is not None, "others have an obstacle"
    measure = MEASURES[rule.column]
    values = {config["config_id"]: measure.factor * float(config[f"{rule.column}_mean"]) for config in ranked}
    objective = Key(measure.words, rule.column, values, is_number=True, log=axes.is_wide(list(values.values())))
    every = [*searched_keys(stage), objective]
    heights = [_heights(key, list(values)) for key in every]
    for number, config in reversed(list(enumerate(ranked))):
        config_id, rank = config["config_id"], 1 - number / max(1, len(ranked) - 1)
        own = [height[config_id] for height in heights]
        width = 2.2 if config["selected"] else 0.8
        [line] = panel.plot(range(len(every)), own, color=to_hex(COLOURS(rank * 0.92)), linewidth=width)
        figures.of_config(line, config_id)
    for place, key in enumerate(every):
        _draw_axis(panel, place, key, list(values), is_last=place == len(every) - 1)
    panel.set_xticks(range(len(every)), [figures.wrapped(key.name, NAME_WIDTH).replace(" (", "\n(") for key in every])
    panel.set_xlim(-0.1, len(every) - 0.75)
    panel.set_ylim(-0.06, 1.06)
    panel.set_yticks([])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def _heights(key: Key, config_ids: Sequence[str]) -> dict[str, float]:
    """Return where configs cross an axis, from 0 to 1."""
    if not key.is_number:
        names = levels(key)
        return {one: names.index(key.values[one]) / max(1, len(names) - 1) for one in config_ids}
    numbers = {one: _scaled(key, float(key.values[one])) for one in config_ids}
    low, high = min(numbers.values()), max(numbers.values())
    return {one: (number - low) / ((high - low) or 1) for one, number in numbers.items()}


def _scaled(key: Key, value: float) -> float:
    return math.log10(value) if key.log else value


def _draw_axis(panel: Axes, place: int, key: Key, config_ids: Sequence[str], *, is_last: bool) -> None:
    panel.plot([place, place], [0, 1], color=figures.GREY, linewidth=0.6, zorder=0)
    heights = _heights(key, config_ids)
    named = {
        str(key.values[one]) if not key.is_number else level_text(_rounded(key.values[one])): heights[one]
        for one in config_ids
    }
    if key.is_number and len(named) > MOST_LEVELS:
        ends = sorted(named.items(), key=lambda item: item[1])
        named = dict([ends[0], ends[-1]])
    beside, side = (-TICK, "right") if is_last else (TICK, "left")
    for words, height in named.items():
        panel.text(
            place + beside, height, words, fontsize="small", ha=side, va="center", color=figures.INK, bbox=BEHIND
        )


def _rounded(value: float | str) -> float | str:
    return float(f"{value:.3g}") if isinstance(value, float) else value
