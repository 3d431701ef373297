"""The terms of a stage's loss, epoch by epoch: which there are, weighted sums of them, and a panel for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from raysl.errors import UserError, choices
from raysl.reports import figures
from raysl.reports.stages import Searched
from raysl.results.records.rows import NO_LOSSES

Curve = NDArray[np.float64]  # [seeds, epochs]
Curves = Mapping[str, Curve]
TOTAL = "total"
MEAN_WIDTH, BAND_ALPHA = 1.4, 0.25


@dataclass(frozen=True)
class Sum:
    """A weighted sum of loss terms, and what it is called."""

    name: str
    weights: Mapping[str, float]

    def of(self, found: Curves) -> Curve | None:
        """Return its values; None where a term is missing."""
        if not self.weights.keys() <= found.keys():
            return None
        values: Curve = np.sum([weight * found[term] for term, weight in self.weights.items()], axis=0)
        return values

    @property
    def formula(self) -> str:
        """What it is of which terms; empty for a term as it is."""
        if list(self.weights) == [self.name] and self.weights[self.name] == 1:
            return ""
        parts = [term if weight == 1 else f"{weight:g} {term}" for term, weight in self.weights.items()]
        return f"{self.name} = {' + '.join(parts)}"


Panel = tuple[str, Sum, Curve]  # title, what it shows, and its values


def curves(stage: Searched) -> dict[str, Curve]:
    """Return the losses of the selected trials by term, `total` among them: [seeds, epochs]."""
    places = {trial["trial_id"]: place for place, trial in enumerate(stage.selected)}
    points = stage.curves.filter(pc.is_in(stage.curves["trial_id"], pa.array(list(places)))).to_pylist()
    num_epochs = max(point["epoch"] for point in points) + 1
    found: dict[str, Curve] = {}
    for point in (point for point in points if point["term"] not in NO_LOSSES):
        curve = found.setdefault(point["term"], np.full((len(places), num_epochs), np.nan))
        curve[places[point["trial_id"]], point["epoch"]] = point["value"]
    return found


def parsed(wanted: str) -> list[Sum]:
    """Return what a list such as `barlow_twins=on_diagonal+0.005*off_diagonal,virtual` asks for.

    Raises UserError where a weight is no number.
    """
    return [_sum(item.strip()) for item in wanted.split(",")]


def _sum(item: str) -> Sum:
    name, _, content = item.rpartition("=")
    weights: dict[str, float] = {}
    for part in content.split("+"):
        weight, _, term = part.rpartition("*")
        try:
            weights[term.strip()] = float(weight or 1)
        except ValueError:
            raise UserError(f"--terms {item}: {weight.strip()} is no number") from None
    return Sum(name.strip() or content, weights)


def shown(titles: Sequence[str], found: Sequence[Curves], wanted: str) -> list[Panel]:
    """Return what there is to draw of each stage: what is asked for and what it has.

    titles: of the stages; a lone one is said elsewhere.  wanted: as `parsed` takes it; empty for all terms.
    Raises UserError where no stage has what is asked for.
    """
    asked = parsed(wanted) if wanted else [Sum(term, {term: 1.0}) for term in _names(found)]
    for one in asked:
        if all(one.of(own) is None for own in found):
            names = [*_names(found), TOTAL]
            unknown = next((term for term in one.weights if term not in names), one.name)
            raise UserError(f"--terms {unknown}: no stage has it; {choices(unknown, names)}")
    pairs = [(title, own, one) for title, own in zip(titles, found, strict=True) for one in asked]
    return [
        (f"{one.name}, {title}" if len(found) > 1 else one.name, one, values)
        for title, own, one in pairs
        if (values := one.of(own)) is not None
    ]


def _names(found: Sequence[Curves]) -> list[str]:
    return [term for term in dict.fromkeys(term for own in found for term in own) if term != TOTAL]


@figures.styled
def draw(panels: Sequence[Panel], note: str, *, log: bool) -> Figure:
    """Draw a panel for each term of each stage: the mean over the seeds, and their standard deviation around it."""
    heads = [title for title, *_ in panels]
    names = list(dict.fromkeys(one.name for _, one, _ in panels))
    figure, axes = figures.panels(len(panels), note, height=figures.PANEL_HEIGHT + figures.title_height(heads))
    for place, (panel, (title, one, values)) in enumerate(zip(axes, panels, strict=True)):
        _draw_panel(panel, values, figures.colour(names.index(one.name)))
        figures.set_title(panel, title)
        panel.set_xlabel("epoch")
        panel.set_ylabel("training loss" if place % 2 == 0 else "")
        if log:
            figures.set_log(panel)
    has_band = any(len(values) > 1 for *_, values in panels)
    figures.legend_below(axes[0], *_legend(has_band))
    return figure


def low_edge(values: Curve, edge: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower edge of a band [epochs]: the lowest seed's where it would not be positive, but all seeds are.

    On a logarithmic axis it would go to the axis's end.
    """
    lowest = np.fmin.reduce(values, axis=0)
    return np.where((edge <= 0) & (lowest > 0), lowest, edge)


def _draw_panel(panel: Axes, values: Curve, colour: str) -> None:
    num_seeds, num_epochs = values.shape
    epochs, mean = np.arange(1, num_epochs + 1), values.mean(axis=0)
    panel.plot(epochs, mean, color=colour, linewidth=MEAN_WIDTH, marker="o" if num_epochs == 1 else "", markersize=3)
    if num_seeds > 1:
        std = values.std(axis=0, ddof=1)
        low = low_edge(values, mean - std)
        panel.fill_between(epochs, low, mean + std, color=colour, alpha=BAND_ALPHA, linewidth=0)
    panel.set_xlim(0.5, num_epochs + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _legend(has_band: bool) -> tuple[list[Artist], list[str]]:
    mean = Line2D([], [], color=figures.INK, linewidth=MEAN_WIDTH)
    band = Patch(color=figures.INK, alpha=BAND_ALPHA, linewidth=0)
    handles: list[Artist] = [mean, band] if has_band else [mean]
    return handles, ["mean of the seeds", "standard deviation (n - 1)"][: len(handles)]
