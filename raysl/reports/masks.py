"""Segmentations of the test set: IoU of each class, and images with their masks, predictions and errors."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from raysl.errors import ResultsError
from raysl.reports import figures
from raysl.reports.stages import Searched
from raysl.results.confusion import IGNORED, class_ious, confusion_matrix, mean_iou
from raysl.results.records.segmented import Segmented

NOTE = "Test images of the best, median and worst mean IoU, by the first seed; red: wrong pixels, gray: not counted"
COLUMNS = ("image", "mask", "prediction", "errors")
WRONG, RIGHT, UNCOUNTED = (0.78, 0.1, 0.1), (0.93, 0.93, 0.93), (0.6, 0.6, 0.6)
MOST_NAMED = 24  # classes in the legend
TITLES_HEIGHT, LINE_HEIGHT = 0.5, 0.2  # inches: of the columns' titles, and of a line of the legend


def segmentations(stage: Searched) -> list[Segmented]:
    """Return the segmentations by the selected trials, by seed; ResultsError where some are missing."""
    return [stage.masks(trial) for trial in stage.selected]


def obstacle(stage: Searched) -> str:
    """Return why there is nothing to draw; empty where there is."""
    if not stage.selected:
        return "nothing is selected"
    if not stage.data.get("masks"):
        return "its images have no masks"
    try:
        found = segmentations(stage)
    except ResultsError as error:
        return str(error)
    return "" if len(found[0].places) else f"{stage.method} segments nothing"


def ious(found: Sequence[Segmented]) -> NDArray[np.float64]:
    """Return the IoU of each class by each seed, in per cent: [seeds, K]; NaN for a class that no pixel has."""
    return 100 * np.stack([class_ious(one.confusion) for one in found])


@figures.styled
def draw(names: Sequence[str], stages: Sequence[Searched], note: str) -> Figure:
    """Draw three rows of panels for each stage."""
    first = [(name, stage.masks(stage.selected[0])) for name, stage in zip(names, stages, strict=True)]
    rows = [(name, one, place) for name, one in first for place in range(len(one.places))]
    size = figures.layout()
    edge = size.width / len(COLUMNS)
    shown = rows[0][1].class_names
    named = list(shown[:MOST_NAMED])
    num_lines = math.ceil(len(named) / figures.legend_columns(named))
    height = edge * len(rows) + TITLES_HEIGHT + LINE_HEIGHT * num_lines
    figure = Figure(figsize=(size.width, height), layout="constrained")
    panels = figure.subplots(len(rows), len(COLUMNS), squeeze=False)
    for (name, one, place), line in zip(rows, panels, strict=True):
        _draw_row(line, one, place)
        line[0].set_ylabel(f"{name} {_score(one, place):.1f} %".strip())
    for axes, words in zip(panels[0], COLUMNS, strict=True):
        axes.set_title(words)
    if size.has_notes and note:
        figure.supxlabel(note, fontsize=figures.NOTE_SIZE)
    handles = [Patch(color=colour) for colour in colours(len(shown))[: len(named)]]
    figures.legend_below(panels[0][0], handles, named, handlelength=1.0)
    return figure


def colours(num_classes: int) -> NDArray[np.float64]:
    """Return a colour for each class, RGB in [0, 1]: [K, 3]; hues a golden section apart, at three levels of light."""
    from matplotlib.colors import hsv_to_rgb

    hues = (0.58 + 0.618034 * np.arange(num_classes)) % 1
    light = np.array([0.85, 0.55, 1.0])[np.arange(num_classes) % 3]
    made: NDArray[np.float64] = hsv_to_rgb(np.stack([hues, np.full(num_classes, 0.65), light], axis=1))
    return made


def coloured(mask: NDArray[np.uint8], num_classes: int) -> NDArray[np.float64]:
    """Return a mask in the colours of its classes, RGB in [0, 1]: [H, W, 3]; ignored pixels are black."""
    table = np.zeros((IGNORED + 1, 3))
    table[:num_classes] = colours(num_classes)
    return table[mask]


def _draw_row(line: Sequence[Axes], one: Segmented, place: int) -> None:
    truth, predicted, image = one.truths[place], one.predicted[place], one.images[place]
    counted = (truth != IGNORED)[..., None]
    errors = np.where(counted, np.where((truth == predicted)[..., None], RIGHT, WRONG), UNCOUNTED)
    num_classes = len(one.class_names)
    shown: list[Any] = [np.repeat(image, 3, 2) if image.shape[2] == 1 else image]
    shown += [coloured(truth, num_classes), coloured(predicted, num_classes), errors]
    for axes, pixels in zip(line, shown, strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])


def _score(one: Segmented, place: int) -> float:
    """Return the mean IoU of an image, in per cent."""
    return 100 * mean_iou(confusion_matrix(one.truths[place], one.predicted[place], len(one.class_names)))
