"""Final training loss against the searched learning rate, and what the selection rule chose.

    uv run python -m analysis.loss_vs_lr RESULTS_DIR... [--stages A,B] [--log]

A panel per stage that searched learning rates. A dot is a seed; mean and sample standard deviation (n - 1) are of
configs all of whose seeds finished, and no other may be selected. Configs of equal other values are one line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import figures
from analysis.command import Arguments, execute, out_folder, parser, say, say_written
from analysis.stages import Row, Searched, params_text, read_selected, titles, without_common
from raysl.errors import UserError

NOTE = "Bars: mean and standard deviation (n - 1); dots beside them: seeds"
BESIDE, AROUND = 1.25, 2.5  # factors, as learning rates are on a logarithmic axis
TOP, STEP = 0.93, 0.09  # heights in the axes where configs without a mean are marked
SELECTED: dict[str, Any] = {
    "marker": "*", "markersize": 9, "color": figures.INK, "markerfacecolor": "none", "markeredgewidth": 0.8,
    "linestyle": "",
}  # fmt: skip
DIVERGED: dict[str, Any] = {"marker": "x", "markersize": 5, "linestyle": ""}
INELIGIBLE: dict[str, Any] = {"marker": "+", "markersize": 6, "linestyle": ""}


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
    return found


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str, *, log: bool) -> Figure:
    """Draw a panel for each stage, and the legend of their lines below."""
    labels = dict.fromkeys(label for stage in stages for label in lines(stage))
    colours = {label: figures.colour(place) for place, label in enumerate(labels)}
    figure, axes = figures.panels(len(stages), note, height=figures.PANEL_HEIGHT + figures.title_height(names))
    for place, (panel, name, stage) in enumerate(zip(axes, names, stages, strict=True)):
        rates = [config[lr_column(stage)] for config in stage.configs]
        panel.set_xscale("log")
        panel.set_xlim(min(rates) / AROUND, max(rates) * AROUND)
        for number, (label, configs) in enumerate(lines(stage).items()):
            _draw_line(panel, stage, configs, colours[label], TOP - number * STEP)
        panel.margins(y=0.12)
        figures.set_title(panel, name)
        panel.set_xlabel("learning rate")
        panel.set_ylabel("final training loss" if place % 2 == 0 else "")
        if log:
            figures.set_log(panel)
    figures.legend_below(axes[0], *_legend(stages, colours))
    return figure


def _draw_line(panel: Axes, stage: Searched, configs: Sequence[Row], colour: str, height: float) -> None:
    """Draw configs of equal other values; height: where those without a mean are marked, in the axes."""
    column = lr_column(stage)
    whole = [config for config in configs if config["final_loss_mean"] is not None]
    rates = [config[column] for config in whole]
    means = [config["final_loss_mean"] for config in whole]
    stds = [config["final_loss_std"] or 0.0 for config in whole]
    panel.errorbar(rates, means, stds, color=colour, capsize=2, elinewidth=0.8)
    for config in configs:
        trials = [trial for trial in stage.trials if trial["config_id"] == config["config_id"]]
        losses = [trial["final_loss"] for trial in trials if trial["final_loss"] is not None]
        fill = colour if config["eligible"] else "none"
        beside = [BESIDE * config[column]] * len(losses)
        panel.scatter(beside, losses, s=5, facecolors=fill, edgecolors=colour, linewidths=0.6)
        if config["selected"]:
            panel.plot(config[column], config["final_loss_mean"], **SELECTED)
        elif not config["eligible"]:
            diverged = any(trial["status"] == "diverged" for trial in trials)
            style = DIVERGED if diverged else INELIGIBLE
            panel.plot(config[column], height, color=colour, transform=panel.get_xaxis_transform(), **style)


def _legend(stages: Sequence[Searched], colours: Mapping[str, str]) -> tuple[list[Artist], list[str]]:
    """Return marks and what they mean, of those that are drawn."""
    trials = [trial for stage in stages for trial in stage.trials]
    ineligible = {config["config_id"] for stage in stages for config in stage.configs if not config["eligible"]}
    diverged = {trial["config_id"] for trial in trials if trial["status"] == "diverged"}
    shown: list[tuple[dict[str, Any], str]] = [({"color": colour}, label) for label, colour in colours.items() if label]
    shown += [(SELECTED, "selected")]
    shown += [(DIVERGED, "not eligible: a seed diverged")] if diverged else []
    shown += [(INELIGIBLE, "not eligible: a seed is missing")] if ineligible - diverged else []
    handles: list[Artist] = [Line2D([], [], **({"color": figures.INK} | style)) for style, _ in shown]
    return handles, [meaning for _, meaning in shown]


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("loss_vs_lr", __doc__ or "")
    options.add_argument("--stages", metavar="A,B", help="only these: STAGE, EXPERIMENT/STAGE or a stage's id")
    options.add_argument("--log", action="store_true", help="logarithmic loss axes")
    given = options.parse_args(arguments)
    found = read_selected(given.results, given.stages)
    stages = [stage for stage in found if lr_column(stage)]
    if not stages:
        raise UserError(f"{', '.join(stage.name for stage in found)}: no learning rate was searched")
    folder = out_folder(given.results, given.out)
    common, names = without_common(titles(stages))
    figure = draw(names, stages, f"{NOTE}; {common}" if common else NOTE, log=given.log)
    for stage in found:
        if stage not in stages:
            say(f"left out: {stage.name}, which searched no learning rate")
    say_written(figures.save(figure, folder, "loss_vs_lr"))


if __name__ == "__main__":
    execute(main)
