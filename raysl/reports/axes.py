"""Axes of searched values and of accuracies: ticks whose labels have room, and no accuracy above 100 %."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from raysl.reports.figures import layout

MOST_TICKS = 6
MARGIN = 0.06  # beside the least and the greatest value, as a part of the axis
DIGIT_WIDTH = 0.62  # as a part of the font's size
GAP = 0.06  # inches between labels
BESIDE = 0.55  # inches of a panel's width that its y axis takes
POINTS = 72  # an inch
POINT_MARKERS = ("o", "*")


def set_values(panel: Axes, values: Sequence[float], *, log: bool) -> None:
    """Scale the x axis of searched numbers, with a tick at each of them where there is room, else at round ones."""
    distinct = sorted(set(values))
    place, back = (math.log10, lambda value: 10**value) if log else (float, float)
    low, high = place(distinct[0]), place(distinct[-1])
    pad = MARGIN * (high - low) or (0.5 if log else abs(low) / 10 or 1.0)
    if log:
        panel.set_xscale("log")
    panel.set_xlim(back(low - pad), back(high + pad))
    width = _width(panel)
    for ticks in _candidates(distinct, log):
        labels = [f"{tick:g}" for tick in ticks]
        places = [width * (place(tick) - low + pad) / (high - low + 2 * pad) for tick in ticks]
        if _fit(places, labels):
            break
    panel.set_xticks(ticks, labels)
    panel.xaxis.set_minor_locator(NullLocator())


def end_at_100(panel: Axes) -> None:
    """End the y axis of accuracies in per cent where accuracies end; bars of deviations may be cut off there."""
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, 0.0), min(high, 100.0))
    for line in panel.lines:
        if line.get_marker() in POINT_MARKERS and high > 100:
            line.set_clip_on(False)


def _width(panel: Axes) -> float:
    """Return about how many inches the x axis of a panel is long."""
    spec = panel.get_subplotspec()
    assert spec is not None, "it is a panel"
    return max(0.5, layout().width / spec.get_gridspec().ncols - BESIDE * layout().scale)


def _candidates(distinct: Sequence[float], log: bool) -> Iterator[list[float]]:
    """Yield ticks within the range of some values, those that say most first; the last is one tick."""
    if len(distinct) <= MOST_TICKS:
        yield list(distinct)
    low, high = distinct[0], distinct[-1]
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for heads in ((1, 2, 5), (1, 3), (1,)):
            ticks = [head * 10.0**decade for decade in decades for head in heads]
            yield from _enough([tick for tick in ticks if low * 0.999 <= tick <= high * 1.001])
        for step in range(2, len(decades)):
            ticks = [10.0**decade for decade in decades if decade % step == 0]
            yield from _enough([tick for tick in ticks if low * 0.999 <= tick <= high * 1.001])
    for num_steps in range(MOST_TICKS - 1, 0, -1):
        ticks = [float(tick) for tick in MaxNLocator(num_steps).tick_values(low, high)]
        yield from _enough([tick for tick in ticks if low <= tick <= high])
    yield [float(f"{low:.2g}"), float(f"{high:.2g}")] if low != high else [low]
    yield [float(f"{high:.2g}")]


def _enough(ticks: list[float]) -> Iterator[list[float]]:
    if 2 <= len(ticks) <= MOST_TICKS:
        yield [float(f"{tick:.12g}") for tick in ticks]


def _fit(places: Sequence[float], labels: Sequence[str]) -> bool:
    """Return whether labels at some places, in inches, leave gaps between them."""
    size = layout().font_size * DIGIT_WIDTH / POINTS
    ends = [
        (place - len(label) * size / 2, place + len(label) * size / 2)
        for place, label in zip(places, labels, strict=True)
    ]
    return all(left[1] + GAP <= right[0] for left, right in pairwise(ends))
