"""Final training loss against the searched learning rate, and what the selection rule chose.

    uv run python -m analysis.loss_vs_lr RESULTS_DIR... [--stages|--cells A,B] [--log]

A panel per stage that searched learning rates. A dot is a seed; mean and sample standard deviation (n - 1) are of
configs all of whose seeds finished, and no other may be selected. Configs of equal other values are one line; where
these are too many, or each has one learning rate alone, as after a random search, no lines are drawn, and
`analysis.slices` shows the other values too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raysl.errors import UserError
from raysl.reports import axes, figures, ineligible
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.searched import say_ineligible
from raysl.reports.stages import Row, Searched, params_text, titles, without_common

Style = Mapping[str, Any]
NOTE = "Bars: mean and standard deviation (n - 1); dots: seeds"
TOP, STEP = 0.93, 0.09  # heights in the axes where configs without a mean are marked
MOST_LINES = 10  # colours that there are
VARIOUS = "various other values"


def lr_column(stage: Searched) -> str:
    """Return the table column of the stage's searched learning rate; empty where none was searched."""
    columns = (key for config in stage.configs for key, value in config.items() if value is not None)
    return next((key for key in columns if key.startswith("params.") and key.endswith(".lr")), "")


def lines(stage: Searched) -> dict[str, list[Row]]:
    """Return the configs by their searched values other than the learning rate, each list by rising learning rate."""
    column = lr_column(stage)
    found: dict[str, list[Row]] = {}
    for config in sorted(stage.configs, key=lambda config: float(config[column])):
        found.setdefault(params_text(config, without=column), []).append(config)
    has_lines = len(found) == 1 or any(len({config[column] for config in own}) > 1 for own in found.values())
    if has_lines and len(found) <= MOST_LINES:
        return found
    return {VARIOUS: [config for own in found.values() for config in own]}


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str, *, log: bool) -> Figure:
    """Draw a panel for each stage, and the legend of their lines below."""
    labels = dict.fromkeys(label for stage in stages for label in lines(stage))
    colours = {label: figures.colour(place) for place, label in enumerate(labels)}
    height = figures.PANEL_HEIGHT + figures.title_height(names)
    handles, meanings = _legend(stages, colours)
    figure, places = figures.panels(len(stages), note, height=height, legend=meanings)
    for place, (panel, name, stage) in enumerate(zip(places, names, stages, strict=True)):
        rates = [config[lr_column(stage)] for config in stage.configs]
        axes.set_values(panel, rates, log=min(rates) > 0)
        for number, (label, configs) in enumerate(lines(stage).items()):
            style: dict[str, Any] = {"color": colours[label]} | _style(label)
            _draw_line(panel, stage, configs, style, TOP - number * STEP)
        panel.margins(y=0.12)
        figures.set_title(panel, name)
        panel.set_xlabel("learning rate")
        panel.set_ylabel("final training loss" if place % 2 == 0 else "")
        if log:
            figures.set_log(panel)
    figures.legend_below(places[0], handles, meanings)
    return figure


def _style(label: str) -> dict[str, Any]:
    return {"linestyle": "", "marker": "_", "markersize": 5} if label == VARIOUS else {}


def _draw_line(panel: Axes, stage: Searched, configs: Sequence[Row], style: dict[str, Any], height: float) -> None:
    """Draw configs of equal other values; height: where those without a mean are marked, in the axes."""
    column, colour = lr_column(stage), style["color"]
    whole = [config for config in configs if config["final_loss_mean"] is not None]
    rates = [config[column] for config in whole]
    means = [config["final_loss_mean"] for config in whole]
    stds = [config["final_loss_std"] or 0.0 for config in whole]
    panel.errorbar(rates, means, stds, capsize=2, elinewidth=0.8, **style)
    for config in configs:
        trials = [trial for trial in stage.trials if trial["config_id"] == config["config_id"]]
        losses = [trial["final_loss"] for trial in trials if trial["final_loss"] is not None]
        fill = colour if config["eligible"] else "none"
        panel.scatter([config[column]] * len(losses), losses, s=5, facecolors=fill, edgecolors=colour, linewidths=0.6)
        if config["selected"]:
            panel.plot(config[column], config["final_loss_mean"], **figures.SELECTED)
        elif not config["eligible"]:
            ineligible.mark(panel, stage, config, config[column], height, colour)


def _legend(stages: Sequence[Searched], colours: Mapping[str, str]) -> tuple[list[Artist], list[str]]:
    """Return marks and what they mean, of those that are drawn."""
    shown: list[tuple[Style, str]] = [
        ({"color": own} | _style(label), label) for label, own in colours.items() if label
    ]
    shown += [(figures.SELECTED, "selected"), *ineligible.legend(stages)]
    handles: list[Artist] = [Line2D([], [], **{"color": figures.INK, **style}) for style, _ in shown]
    return handles, [meaning for _, meaning in shown]


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("loss_vs_lr", __doc__ or "")
    add_choice(options)
    options.add_argument("--log", action="store_true", help="logarithmic loss axes")
    given = options.parse_args(arguments)
    found = chosen(given)
    stages = [stage for stage in found if lr_column(stage)]
    if not stages:
        raise UserError(f"{', '.join(stage.name for stage in found)}: no learning rate was searched")
    folder = out_folder(given.results, given.out)
    common, names = without_common(titles(stages))
    figure = draw(names, stages, f"{NOTE}; {common}" if common else NOTE, log=given.log)
    for stage in found:
        if stage not in stages:
            say(f"left out: {stage.name}, which searched no learning rate")
    say_ineligible(stages)
    say_written(figures.save(figure, folder, "loss_vs_lr"))
