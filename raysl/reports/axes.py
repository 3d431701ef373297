"""Axes of searched values and of accuracies: ticks whose labels have room, and no accuracy above 100 %."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from raysl.reports.figures import layout, set_log

MOST_TICKS = 6
MARGIN = 0.06  # beside the least and the greatest value, as a part of the axis
DIGIT_WIDTH = 0.62  # as a part of the font's size
GAP = 0.06  # inches between labels
BESIDE = 0.55  # inches of a panel's width that its y axis takes
WIDE = 10.0  # ratio
POINTS = 72  # an inch
POINT_MARKERS = ("o", "*")


def set_values(panel: Axes, values: Sequence[float], *, log: bool) -> None:
    """Scale the x axis of searched numbers, with a tick at each of them where there is room, else at round ones."""
    if log:
        panel.set_xscale("log")
    panel.set_xlim(*_limits(values, log))
    found = ticks(panel, values, log=log)
    panel.set_xticks(found, [f"{tick:g}" for tick in found])
    panel.xaxis.set_minor_locator(NullLocator())


def ticks(panel: Axes, values: Sequence[float], *, log: bool) -> list[float]:
    """Return ticks of searched numbers whose labels do not touch on the x axis of a panel."""
    low, high = (_place(limit, log) for limit in _limits(values, log))
    width = _width(panel)
    for found in _candidates(sorted(set(values)), log):
        if _fit([width * (_place(tick, log) - low) / (high - low) for tick in found], [f"{tick:g}" for tick in found]):
            break
    return found


def _place(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def _limits(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = (_place(end, log) for end in (min(values), max(values)))
    pad = MARGIN * (high - low) or (0.5 if log else abs(low) / 10 or 1.0)
    ends = low - pad, high + pad
    return (10 ** ends[0], 10 ** ends[1]) if log else ends


def end_at_100(panel: Axes) -> None:
    """End the y axis of accuracies in per cent where accuracies end; bars of deviations may be cut off there."""
    low, high = panel.get_ylim()
    panel.set_ylim(max(low, 0.0), min(high, 100.0))
    for line in panel.lines:
        # A line without points lies at the figure's corner where it is not clipped, and leaves the panel no room.
        if line.get_marker() in POINT_MARKERS and high > 100 and np.size(line.get_xydata()):
            line.set_clip_on(False)


def set_log_if_wide(panel: Axes, values: Iterable[float]) -> None:
    """Make the y axis logarithmic where the values would not be told apart on a linear one."""
    known = [value for value in values if math.isfinite(value)]
    if is_wide(known):
        set_log(panel)


def is_wide(values: Sequence[float]) -> bool:
    """Return whether positive values differ so much that a linear axis shows the greatest alone."""
    return bool(values) and min(values) > 0 and max(values) > WIDE * min(values)


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
        inside = [10.0**decade for decade in decades if low * 0.999 <= 10.0**decade <= high * 1.001]
        for step in range(2, len(inside)):
            yield from _enough(inside[::step])
        yield from _enough([inside[0], inside[-1]] if len(inside) > 1 else [])
    for num_steps in () if log and high > 10 * low else range(MOST_TICKS - 1, 0, -1):
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
