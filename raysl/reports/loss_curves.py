"""Training loss of the selected configs, epoch by epoch (Cavallari & Ponti 2021, Figures 10 and 11).

    uv run python -m analysis.loss_curves RESULTS_DIR... [--stages|--cells A,B] [--terms [A,B]] [--log]

A panel per stage, with a loss axis of its own: losses of different methods have no common scale. A thin line is a seed,
the bold one their mean; the means of the loss terms are dashed where the loss is made of several.

With --terms a panel per term, unweighted, as of TriMix (Bdair et al. 2022, Figure 2); a list chooses from them, and may
hold weighted sums under names of their own: `--terms barlow_twins=on_diagonal+0.005*off_diagonal,virtual,consistency`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from raysl.errors import ResultsError
from raysl.reports import figures, terms
from raysl.reports.choosing import add_choice, chosen
from raysl.reports.command import Arguments, out_folder, parser, say, say_written
from raysl.reports.stages import Searched, titles, without_common
from raysl.reports.terms import TOTAL, Curves

MEAN: dict[str, Any] = {"linewidth": 1.6}
SEED: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.6}
TERM: dict[str, Any] = {"linestyle": (0, (4, 2))}
NOTE = "Selected configs"
UNWEIGHTED_NOTE = "terms before they are weighted"
TERMS_NOTE = "dashed: terms that a loss is made of, means of the seeds"


def curves(stage: Searched) -> Curves:
    """Return the losses of the selected trials, `total` and by term where it has more than one: [seeds, epochs]."""
    found = terms.curves(stage)
    return found if len(found) > 2 else {TOTAL: found[TOTAL]}


@figures.styled
def draw(names: Sequence[str], shown: Sequence[Curves], note: str, *, log: bool) -> Figure:
    """Draw a panel for each stage, and the legend of the loss terms below."""
    names_of_terms = dict.fromkeys(term for found in shown for term in (TOTAL, *found))
    colours = {term: figures.colour(place) for place, term in enumerate(names_of_terms)}
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
    num_epochs = found[TOTAL].shape[1]
    epochs = np.arange(1, num_epochs + 1)
    mark: dict[str, Any] = {"marker": "o" if num_epochs == 1 else "", "markersize": 3}
    for seed in found[TOTAL]:
        panel.plot(epochs, seed, color=colours[TOTAL], **SEED, **mark)
    for term, color in colours.items():
        if term in found:
            panel.plot(epochs, found[term].mean(axis=0), color=color, **(MEAN if term == TOTAL else TERM), **mark)
    panel.set_xlim(0.5, num_epochs + 0.5)


def _legend(colours: Mapping[str, str]) -> tuple[list[Line2D], list[str]]:
    styles = {"mean of the seeds": (colours[TOTAL], MEAN), "a seed": (colours[TOTAL], SEED)}
    styles |= {term: (color, TERM) for term, color in colours.items() if term != TOTAL}
    return [Line2D([], [], color=color, **style) for color, style in styles.values()], list(styles)


def main(arguments: Arguments) -> None:
    """Draw the figure."""
    options = parser("loss_curves", __doc__ or "")
    add_choice(options)
    options.add_argument(
        "--terms", nargs="?", const="", metavar="A,B", help="a panel for each loss term, or for these alone"
    )
    options.add_argument("--log", action="store_true", help="logarithmic loss axes")
    given = options.parse_args(arguments)
    stages = _trained(chosen(given))
    common, names = without_common(titles(stages))
    if given.terms is None:
        shown = [curves(stage) for stage in stages]
        notes = [NOTE, TERMS_NOTE if any(len(found) > 1 for found in shown) else "", common]
        figure, name = draw(names, shown, _joined(notes), log=given.log), "loss_curves"
    else:
        panels = terms.shown(names, [terms.curves(stage) for stage in stages], given.terms)
        formulas = dict.fromkeys(one.formula for _, one, _ in panels)
        notes = [NOTE, UNWEIGHTED_NOTE, *formulas, names[0] if len(names) == 1 else common]
        figure, name = terms.draw(panels, _joined(notes), log=given.log), "loss_terms"
    say_written(figures.save(figure, out_folder(given.results, given.out), name))


def _trained(stages: Sequence[Searched]) -> list[Searched]:
    """Return the stages that have curves; ResultsError where none has."""
    found = [stage for stage in stages if any(trial["epochs"] for trial in stage.selected)]
    if not found:
        raise ResultsError(f"{', '.join(stage.name for stage in stages)}: nothing was trained, so there are no losses")
    for stage in stages:
        if stage not in found:
            say(f"left out: {stage.name}, which trained nothing")
    return found


def _joined(notes: Sequence[str]) -> str:
    return "; ".join(filter(None, notes))
