"""The accuracy of a grid of two hyperparameters: over one of them, a line for each value of the other.

    uv run python -m analysis.grid RESULTS_DIR... [--stages|--cells A,B] [--x KEY] [--lines KEY] [--column COLUMN]
        [--format text|markdown|latex]

For TriMix's batch size and projector: Bdair et al. 2022, Figure 4. A panel for each stage and measure, and the numbers
as a table: means over the seeds of the stage's own trials, with the sample standard deviation (n - 1). The measures are
what the stage's rule compares and, where all configs are scored (`raysl tune --score all`), the test accuracy. Where
other keys were searched too, a place has several configs, and shows the one that the rule puts first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysl.errors import ResultsError, UserError
from raysl.reports import axes, figures, ineligible, tables
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.crossed import Grid, Value, grid, level_text, levels
from raysl.reports.searched import MEASURES, Key, measure_of, say_ineligible, unmeasured_reason
from raysl.reports.stages import Row, Searched, params_text, titles, without_common
from raysl.reports.tables import Table

Panel = tuple[str, Grid, str]  # title, grid and column
NOTE = "Means over the seeds, bars: standard deviation (n - 1)"
BEST = "configs that differ in other hyperparameters alone: the one that the rule puts first"
TOP, STEP = 0.97, 0.06  # heights in the axes where configs without a mean are marked
LINE: dict[str, Any] = {"marker": "o", "markersize": 2.5, "capsize": 2, "elinewidth": 0.7}


def table(title: str, one: Grid, column: str) -> Table:
    """Return a row for each line, with a cell for each value along the axis."""
    cells, values = one.cells(column), levels(one.x)
    rows = [
        (level_text(line), *(_cell(cells.get((line, value)), column) for value in values)) for line in levels(one.lines)
    ]
    chosen = [config for config in cells.values() if config["selected"]]
    notes = [NOTE.replace(", bars: ", " ± "), *([BEST] if one.has_more_keys else [])]
    return Table(
        title=f"{MEASURES[column].words}: {title}",
        header=(one.lines.name, *(f"{one.x.name} {level_text(value)}" for value in values)),
        rows=tuple(rows),
        notes=(*(f"{note}." for note in notes), *(f"Selected: {params_text(config)}." for config in chosen)),
    )


def _cell(config: Row | None, column: str) -> str:
    if config is None:
        return "-"
    digits = 2 if MEASURES[column].factor == 100 else 4
    std = f" ± {_std(config, column):.{digits}f}" if config.get(f"{column}_std") is not None else ""
    return f"{_mean(config, column):.{digits}f}{std}"


def _mean(config: Row, column: str) -> float:
    return MEASURES[column].factor * float(config[f"{column}_mean"])


def _std(config: Row, column: str) -> float:
    return MEASURES[column].factor * float(config.get(f"{column}_std") or 0.0)


@figures.styled
def draw(shown: Sequence[Panel], note: str) -> Figure:
    """Draw a panel for each grid and measure, and the legend of their lines below."""
    heads = [title for title, *_ in shown]
    labels = dict.fromkeys(_label(one, line) for _, one, _ in shown for line in levels(one.lines))
    colours = {label: figures.colour(place) for place, label in enumerate(labels)}
    handles, meanings = _legend(shown, colours)
    height = figures.PANEL_HEIGHT + figures.title_height(heads)
    figure, drawn = figures.panels(len(shown), note, height=height, legend=meanings)
    for panel, (title, one, column) in zip(drawn, shown, strict=True):
        _draw_panel(panel, one, column, colours)
        figures.set_title(panel, title)
        panel.set_xlabel(one.x.name)
        panel.set_ylabel(MEASURES[column].words)
    figures.legend_below(drawn[0], handles, meanings)
    return figure


def _draw_panel(panel: Axes, one: Grid, column: str, colours: Mapping[str, str]) -> None:
    values, cells = levels(one.x), one.cells(column)
    places = {value: value if isinstance(value, float) else float(place) for place, value in enumerate(values)}
    for number, line in enumerate(levels(one.lines)):
        own = {places[value]: cells[line, value] for value in values if (line, value) in cells}
        means, stds = ([of(config, column) for config in own.values()] for of in (_mean, _std))
        colour = colours[_label(one, line)]
        panel.errorbar(list(own), means, stds, color=colour, **LINE)
        for config in one.stage.configs:
            of_line, value = one.place(config)
            if of_line == line and not config["eligible"] and (line, value) not in cells:
                ineligible.mark(panel, one.stage, config, places[value], TOP - number * STEP, colour)
    for (_, value), config in cells.items():
        if config["selected"]:
            panel.plot(places[value], _mean(config, column), zorder=3, **figures.SELECTED)
    panel.margins(x=0.08, y=0.15)
    _set_ticks(panel, one.x, places)
    if MEASURES[column].factor == 100:
        axes.end_at_100(panel)


def _set_ticks(panel: Axes, key: Key, places: Mapping[Value, float]) -> None:
    if key.is_number:
        axes.set_values(panel, list(places.values()), log=key.log)
    else:
        panel.set_xticks(list(places.values()), [level_text(value) for value in places])


def _label(one: Grid, line: Value) -> str:
    return f"{one.lines.name} {level_text(line)}"


def _legend(shown: Sequence[Panel], colours: Mapping[str, str]) -> tuple[list[Artist], list[str]]:
    marks: list[tuple[Mapping[str, Any], str]] = [
        ({"color": own, "marker": "o"}, words) for words, own in colours.items()
    ]
    stages = list({id(one.stage): one.stage for _, one, _ in shown}.values())
    marks += [(figures.SELECTED, "selected"), *ineligible.legend(stages)]
    handles: list[Artist] = [Line2D([], [], **{"color": figures.INK, "markersize": 2.5, **mark}) for mark, _ in marks]
    return handles, [words for _, words in marks]


def _grids(stages: Sequence[Searched], x: str | None, lines: str | None) -> list[Grid]:
    """Return the grids of those stages that have one; UserError where none has."""
    found, reasons = [], []
    for stage in stages:
        try:
            found.append(grid(stage, x, lines))
        except UserError as error:
            reasons.append(f"{stage.name}: {error}")
    if not found:
        raise UserError("; ".join(reasons))
    for reason in reasons:
        say(f"left out: {reason}")
    return found


def main(arguments: Arguments) -> None:
    """Print and write the table, and draw the figure."""
    options = parser("grid", __doc__ or "")
    add_choice(options)
    options.add_argument(
        "--x", metavar="KEY", help="the hyperparameter along the axis; that of more values if not given"
    )
    options.add_argument("--lines", metavar="KEY", help="the one with a line for each value; the other if not given")
    options.add_argument("--column", choices=list(MEASURES), help="one measure alone")
    options.add_argument("--format", choices=list(tables.FORMATS), default="text")
    given = options.parse_args(arguments)
    grids = _grids(chosen(given), given.x, given.lines)
    shown = _panels(grids, given.column)
    folder = out_folder(given.results, given.out)
    content = "\n\n".join(tables.FORMATS[given.format][0](table(*panel)) for panel in shown)
    say(content)
    for one in grids:
        if lacking := unmeasured_reason(one.stage, given.column or one.stage.metric.test):
            say(f"not drawn: {one.stage.name}: {lacking}")
    say_ineligible([one.stage for one in grids])
    say_written([tables.save(content, folder, "grid", given.format)])
    say_written(figures.save(draw(*_headed(shown)), folder, "grid"))


def _panels(grids: Sequence[Grid], given: str | None) -> list[Panel]:
    """Return what there is to show, under whole titles; ResultsError where it is nothing."""
    named = zip(titles([one.stage for one in grids]), grids, strict=True)
    found = [(name, one, column) for name, one in named for column in one.columns(given) if one.cells(column)]
    if not found:
        reasons = (
            unmeasured_reason(one.stage, measure_of(one.stage, given)) or "no config is eligible" for one in grids
        )
        raise ResultsError("; ".join(f"{one.stage.name}: {why}" for one, why in zip(grids, reasons, strict=True)))
    return found


def _headed(shown: Sequence[Panel]) -> tuple[list[Panel], str]:
    """Return the panels under what tells them apart, and what stands below them."""
    every = list(dict.fromkeys(title for title, *_ in shown))
    common, names = without_common(every)
    alone = names.pop() if len(names) == 1 else ""  # said once, below
    heads = dict(zip(every, names or [""], strict=True))
    best = BEST if any(one.has_more_keys for _, one, _ in shown) else ""
    note = "; ".join(filter(None, [NOTE, best, alone, common]))
    return [(heads[title], one, column) for title, one, column in shown], note
