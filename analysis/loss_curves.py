"""Training loss of the selected configs, epoch by epoch (Cavallari & Ponti 2021, Figures 10 and 11).

    uv run python -m analysis.loss_curves RESULTS_DIR... [--stages A,B] [--log]

A panel per stage, with a loss axis of its own: losses of different methods have no common scale. A thin line is a seed,
the bold one their mean; the means of the loss terms are dashed where the loss is made of several.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis import figures
from analysis.command import Arguments, execute, out_folder, parser, say_written
from analysis.stages import Searched, read_selected, titles, without_common
from raysl.results.rows import SPREAD

Curves = Mapping[str, NDArray[np.float64]]
MEAN: dict[str, Any] = {"linewidth": 1.6}
SEED: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.6}
TERM: dict[str, Any] = {"linestyle": (0, (4, 2))}
NOTE = "Selected configs"
TERMS_NOTE = "dashed: terms that a loss is made of, means of the seeds"


def curves(stage: Searched) -> dict[str, NDArray[np.float64]]:
    """Return the losses of the selected trials, `total` and by term where it has more than one: [seeds, epochs]."""
    places = {trial["trial_id"]: place for place, trial in enumerate(stage.selected)}
    points = stage.curves.filter(pc.is_in(stage.curves["trial_id"], pa.array(list(places)))).to_pylist()
    num_epochs = max(point["epoch"] for point in points) + 1
    found: dict[str, NDArray[np.float64]] = {}
    for point in (point for point in points if point["term"] != SPREAD):  # which is no part of the loss
        curve = found.setdefault(point["term"], np.full((len(places), num_epochs), np.nan))
        curve[places[point["trial_id"]], point["epoch"]] = point["value"]
    return found if len(found) > 2 else {"total": found["total"]}


@figures.styled
def draw(names: Sequence[str], shown: Sequence[Curves], note: str, *, log: bool) -> Figure:
    """Draw a panel for each stage, and the legend of the loss terms below."""
    terms = dict.fromkeys(term for found in shown for term in ("total", *found))
    colours = {term: figures.colour(place) for place, term in enumerate(terms)}
    figure, axes = figures.panels(len(shown), note, height=figures.PANEL_HEIGHT + figures.title_height(names))
    for place, (panel, name, found) in enumerate(zip(axes, names, shown, strict=True)):
        _draw_panel(panel, found, colours)
        figures.set_title(panel, name)
        panel.set_xlabel("epoch")
        panel.set_ylabel("training loss" if place % 2 == 0 else "")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if log:
            figures.set_log(panel)
    figures.legend_below(axes[0], *_legend(colours))
    return figure


def _draw_panel(panel: Axes, found: Curves, colours: Mapping[str, str]) -> None:
    num_epochs = found["total"].shape[1]
    epochs = np.arange(1, num_epochs + 1)
    mark: dict[str, Any] = {"marker": "o" if num_epochs == 1 else "", "markersize": 3}
    for seed in found["total"]:
        panel.plot(epochs, seed, color=colours["total"], **SEED, **mark)
    for term, color in colours.items():
        if term in found:
            panel.plot(epochs, found[term].mean(axis=0), color=color, **(MEAN if term == "total" else TERM), **mark)
    panel.set_xlim(0.5, num_epochs + 0.5)


def _legend(colours: Mapping[str, str]) -> tuple[list[Line2D], list[str]]:
    styles = {"mean of the seeds": (colours["total"], MEAN), "a seed": (colours["total"], SEED)}
    styles |= {term: (color, TERM) for term, color in colours.items() if term != "total"}
    return [Line2D([], [], color=color, **style) for color, style in styles.values()], list(styles)


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("loss_curves", __doc__ or "")
    options.add_argument("--stages", metavar="A,B", help="only these: STAGE, EXPERIMENT/STAGE or a stage's id")
    options.add_argument("--log", action="store_true", help="logarithmic loss axes")
    given = options.parse_args(arguments)
    stages = read_selected(given.results, given.stages)
    folder = out_folder(given.results, given.out)
    common, names = without_common(titles(stages))
    shown = [curves(stage) for stage in stages]
    has_terms = any(len(found) > 1 for found in shown)
    note = "; ".join(filter(None, [NOTE, TERMS_NOTE if has_terms else "", common]))
    say_written(figures.save(draw(names, shown, note, log=given.log), folder, "loss_curves"))


if __name__ == "__main__":
    execute(main)
