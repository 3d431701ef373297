"""The objective against each searched hyperparameter (for SidAE's w: Baier et al. 2024, Figure 4).

    uv run python -m analysis.slices RESULTS_DIR... [--stages|--cells A,B] [--column COLUMN]

A panel for each hyperparameter of each stage. A point is a config: the mean over its seeds with the sample standard
deviation (n - 1). What the other hyperparameters do is seen only as scatter; the points' colour is the order of the
search. Where one hyperparameter alone was searched, its points are connected, and if all its configs are scored on the
test set (`raysl tune --score all`) the test accuracy stands beside the probe accuracy that the rule compared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysl.errors import ResultsError
from raysl.reports import axes, figures, ineligible
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.searched import (
    MEASURES,
    Key,
    measure_of,
    measured,
    say_ineligible,
    searched_keys,
    unmeasured_reason,
)
from raysl.reports.stages import Row, Searched, titles, without_common

Panel = tuple[str, Searched, Key, str]  # title, stage, key and column of the objective
NOTE = "Means over the seeds, bars: standard deviation (n - 1)"
ORDER = matplotlib.colormaps["viridis"]
LIGHTEST = 0.9  # of the colour map; beyond, it is hard to see on white
TOP = 0.95  # height in the axes where ineligible configs are marked
SPREAD = 0.4  # of the room between categories that their points take
LABEL_WIDTH = 10  # characters of a category's name
DOT: dict[str, Any] = {"marker": "o", "markersize": 3.5, "linestyle": ""}
BAR: dict[str, Any] = {"capsize": 2, "elinewidth": 0.7}


def obstacle(stage: Searched, column: str) -> str | None:
    """Return why there is nothing to draw of a stage; None where there is."""
    if not searched_keys(stage):
        return "no hyperparameter was searched"
    return None if measured(stage, column) else unmeasured_reason(stage, column) or "no config is eligible"


def columns(stage: Searched, column: str) -> list[str]:
    """Return what is drawn of a stage: the objective, and the test metric beside the probe's, of one key."""
    alone = len(searched_keys(stage)) == 1 and column == stage.metric.probe
    scored = alone and len(measured(stage, stage.metric.test)) == len(measured(stage, column))
    return [column, stage.metric.test] if scored else [column]


@figures.styled
def draw(shown: Sequence[Panel], note: str) -> Figure:
    """Draw a panel for each key of each stage, and the legend below."""
    heads = [title for title, *_ in shown]
    height = figures.PANEL_HEIGHT + figures.title_height(heads)
    handles, meanings = _legend(shown)
    figure, drawn = figures.panels(len(shown), note, height=height, legend=meanings)
    for place, (panel, (title, stage, key, column)) in enumerate(zip(drawn, shown, strict=True)):
        _draw_panel(panel, stage, key, column)
        figures.set_title(panel, title)
        panel.set_xlabel(key.name)
        words = f"{stage.metric.words} (%)" if len(columns(stage, column)) > 1 else MEASURES[column].words
        panel.set_ylabel(words if place % 2 == 0 or shown[place - 1][-1] != column else "")
    figures.legend_below(drawn[0], handles, meanings)
    return figure


def _draw_panel(panel: Axes, stage: Searched, key: Key, column: str) -> None:
    places, colours = _places(stage, key), _colours(stage)
    if not key.is_number:
        names = {str(value): round(places[config]) for config, value in key.values.items()}
        panel.set_xticks(list(names.values()), [figures.wrapped(name, LABEL_WIDTH) for name in names])
    for number, name in enumerate(columns(stage, column)):
        configs = sorted(measured(stage, name), key=lambda config: places[config["config_id"]])
        if len(set(colours.values())) == 1 and key.is_number:
            own = figures.PALETTE[number]
            points = [_mean(config, name) for config in configs]
            panel.plot([places[config["config_id"]] for config in configs], points, color=own)
        for config in configs:
            own = colours[config["config_id"]] if number == 0 else figures.PALETTE[number]
            style = {"color": own, **DOT, **BAR}
            panel.errorbar(places[config["config_id"]], _mean(config, name), _std(config, name), **style)
    for config in stage.configs:
        place = places[config["config_id"]]
        if config["selected"] and config[f"{column}_mean"] is not None:
            panel.plot(place, _mean(config, column), zorder=3, **figures.SELECTED)
        elif not config["eligible"]:
            ineligible.mark(panel, stage, config, place, TOP, colours[config["config_id"]])
    panel.margins(x=0.08, y=0.15)
    if key.is_number:
        axes.set_values(panel, list(places.values()), log=key.log)
    if MEASURES[column].factor == 100:
        axes.end_at_100(panel)
    else:
        axes.set_log_if_wide(panel, [_mean(config, column) for config in measured(stage, column)])


def _places(stage: Searched, key: Key) -> dict[str, float]:
    """Return where configs lie on the x axis; within a category, in the order of the search."""
    if key.is_number:
        return {config: float(value) for config, value in key.values.items()}
    names = {value: place for place, value in enumerate(sorted(set(key.values.values()), key=str))}
    last = max(1, len(stage.configs) - 1)
    beside = (SPREAD * (number / last - 0.5) for number in range(len(stage.configs)))
    return {config: names[value] + by for (config, value), by in zip(key.values.items(), beside, strict=True)}


def _colours(stage: Searched) -> dict[str, str]:
    """Return the colour of each config, by the order of the search; of one key alone, which tells all, one colour."""
    if len(searched_keys(stage)) == 1:
        return {config["config_id"]: figures.PALETTE[0] for config in stage.configs}
    last = max(1, len(stage.configs) - 1)
    return {config["config_id"]: to_hex(ORDER(LIGHTEST * n / last)) for n, config in enumerate(stage.configs)}


def _mean(config: Row, column: str) -> float:
    return MEASURES[column].factor * float(config[f"{column}_mean"])


def _std(config: Row, column: str) -> float:
    return MEASURES[column].factor * float(config.get(f"{column}_std") or 0.0)


def _legend(shown: Sequence[Panel]) -> tuple[list[Artist], list[str]]:
    stages = list({id(stage): stage for _, stage, _, _ in shown}.values())
    marks: list[tuple[Mapping[str, Any], str]] = []
    pairs = next((columns(stage, column) for _, stage, _, column in shown if len(columns(stage, column)) > 1), [])
    for place, name in enumerate(pairs):
        marks.append(({"color": figures.PALETTE[place], "marker": "o"}, MEASURES[name].words.removesuffix(" (%)")))
    if any(len(searched_keys(stage)) > 1 for stage in stages):
        ends = ((0.0, "first of the search"), (LIGHTEST, "last of the search"))
        marks += [(DOT | {"color": to_hex(ORDER(end))}, words) for end, words in ends]
    marks += [(figures.SELECTED, "selected"), *ineligible.legend(stages)]
    handles: list[Artist] = [Line2D([], [], **{"color": figures.INK, "markersize": 3.5, **mark}) for mark, _ in marks]
    return handles, [words for _, words in marks]


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("slices", __doc__ or "")
    add_choice(options)
    options.add_argument(
        "--column", choices=list(MEASURES), help="the objective; that of the stage's rule if not given"
    )
    given = options.parse_args(arguments)
    every = [(stage, measure_of(stage, given.column)) for stage in chosen(given)]
    obstacles = [(stage, reason) for stage, column in every if (reason := obstacle(stage, column))]
    if len(obstacles) == len(every):
        raise ResultsError("; ".join(f"{stage.name}: {reason}" for stage, reason in obstacles))
    drawn = [(stage, column) for stage, column in every if not obstacle(stage, column)]
    folder = out_folder(given.results, given.out)
    common, names = without_common(titles([stage for stage, _ in drawn]))
    alone = names[0] if len(names) == 1 else ""  # said once, below
    heads = [""] if alone else names
    shown = [
        (head, stage, key, column)
        for head, (stage, column) in zip(heads, drawn, strict=True)
        for key in searched_keys(stage)
    ]
    figure = draw(shown, "; ".join(filter(None, [NOTE, alone, common])))
    for stage, reason in obstacles:
        say(f"left out: {stage.name}: {reason}")
    for stage, column in drawn:
        if reason := unmeasured_reason(stage, column):
            say(f"not drawn: {stage.name}: {reason}")
    say_ineligible([stage for stage, _ in drawn])
    say_written(figures.save(figure, folder, "slices"))
