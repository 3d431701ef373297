"""Confusion matrices of selected configs: what the test images of each class are taken for."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from raysl.errors import ResultsError
from raysl.reports import figures
from raysl.reports.stages import Searched
from raysl.results.records.features import Features

NOTE = "Rows: classes of the test images; columns: what they are taken for, in % of the row; means over the seeds"
MOST_NUMBERS, MOST_NAMES, MOST_OUTLINES = 12, 20, 20  # classes up to which there is room
LIGHT, DARK = "#fefefe", "#010101"  # of numbers in cells, whatever the page's colours are
NAME_WIDTH = 12  # characters


def features(stage: Searched) -> list[Features]:
    """Return the test features of the selected trials; ResultsError where some are missing."""
    return [stage.features(trial) for trial in stage.selected]


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    if not stage.selected:
        return "nothing is selected"
    try:
        features(stage)
    except ResultsError as error:
        return str(error)
    return ""


def matrix(found: Sequence[Features]) -> NDArray[np.float64]:
    """Return the means over the seeds, rows and columns by class: [C, C], in per cent of the row."""
    names = range(len(found[0].class_names))
    counts = [confusion_matrix(one.labels, one.predicted, labels=names).astype(np.float64) for one in found]
    shares = [100 * one / np.maximum(one.sum(axis=1, keepdims=True), 1) for one in counts]
    mean: NDArray[np.float64] = np.mean(shares, axis=0)
    return mean


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw a panel for each stage."""
    size = figures.layout()
    height = size.width / min(size.num_columns, len(stages)) / size.scale + figures.title_height(names)
    figure, places = figures.panels(len(stages), note, height=min(height, 3.2))
    for panel, name, stage in zip(places, names, stages, strict=True):
        _draw_panel(panel, features(stage))
        figures.set_title(panel, name)
    return figure


def _draw_panel(panel: Axes, found: Sequence[Features]) -> None:
    names, values = found[0].class_names, matrix(found)
    num = len(names)
    panel.pcolormesh(values, cmap="Blues", vmin=0, vmax=100, rasterized=num > MOST_OUTLINES)
    if num <= MOST_NUMBERS:
        for row, column in np.ndindex(num, num):
            colour = LIGHT if values[row, column] > 55 else DARK
            text = f"{values[row, column]:.0f}"
            panel.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize="small")
    if num <= MOST_NAMES:
        short = [name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 2]}.." for name in names]
        turn = 90 if max(map(len, short)) > 3 else 0
        panel.set_xticks(np.arange(num) + 0.5, short, rotation=turn)
        panel.set_yticks(np.arange(num) + 0.5, short)
        panel.tick_params(length=0)
    panel.set_ylim(num, 0)
    panel.set_xlim(0, num)
    panel.set_aspect("equal")
    panel.set_xlabel("taken for")
    panel.set_ylabel("class")
