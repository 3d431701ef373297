"""Ticks of searched values do not touch, and accuracies end at 100 %."""

import random
from itertools import pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from raysl.reports import axes, figures

RANDOM = random.Random(1)
SPACES = {
    "a range of five decades": ([10 ** RANDOM.uniform(-5, 0) for _ in range(30)], True),
    "a range of half a decade": ([RANDOM.uniform(0.001, 0.004) for _ in range(12)], True),
    "a wide range": ([10 ** RANDOM.uniform(-9, 3) for _ in range(30)], True),
    "a uniform range": ([RANDOM.random() for _ in range(20)], False),
    "a geometric grid": ([1e-4, 1e-3, 1e-2], True),
    "a grid of close values": ([0.1, 0.10001, 0.5, 0.50001, 0.9], False),
    "large numbers": ([32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0], True),
    "one value": ([0.001, 0.001], True),
    "negative ones": ([-3.0, 0.0, 2.5], False),
}


def panel_of(values: list[float], log: bool, num_panels: int = 2) -> Axes:
    figure, places = figures.panels(num_panels, "", height=1.65)
    places[0].plot(values, values, "o")
    axes.set_values(places[0], values, log=log)
    FigureCanvasAgg(figure)
    return places[0]


@pytest.mark.parametrize("size", [(figures.COLUMN, 7.0), (figures.COLUMN, 10.0), (figures.PAGE, 9.0)])
@pytest.mark.parametrize(("values", "log"), SPACES.values(), ids=SPACES)
def test_labels_leave_gaps_and_all_values_are_seen(values: list[float], log: bool, size: tuple[float, float]) -> None:
    with figures.laid_out(figures.Layout(*size)):
        panel = figures.styled(panel_of)(values, log)
        figure = panel.get_figure(root=True)
        assert figure is not None
        figure.canvas.draw()
        boxes = sorted((label.get_window_extent() for label in panel.get_xticklabels()), key=lambda box: box.x0)
    assert boxes
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    low, high = panel.get_xlim()
    assert low < min(values)
    assert high > max(values)
    assert all(low <= tick <= high for tick in panel.get_xticks())
    assert not panel.xaxis.get_minorticklocs().size


def test_few_values_have_a_tick_each() -> None:
    assert panel_of([1e-4, 1e-3, 1e-2], True).get_xticks().tolist() == [1e-4, 1e-3, 1e-2]
    labels = [label.get_text() for label in panel_of([1e-4, 1e-3, 1e-2], True).get_xticklabels()]
    assert labels == ["0.0001", "0.001", "0.01"]


def test_accuracies_end_at_100() -> None:
    _, (panel,) = figures.panels(1, "", height=1.65)
    panel.errorbar([0, 1], [99.0, 100.0], [3.0, 4.0], marker="o")
    assert panel.get_ylim()[1] > 103
    axes.end_at_100(panel)
    assert panel.get_ylim()[1] == 100
    _, (low,) = figures.panels(1, "", height=1.65)
    low.plot([0, 1], [40.0, 60.0])
    axes.end_at_100(low)
    assert low.get_ylim()[1] < 65


def test_a_loss_axis_is_logarithmic_where_losses_lie_far_apart() -> None:
    for values, scale in (([1.0, 2.0], "linear"), ([0.1, 40.0], "log"), ([-1.0, 40.0], "linear"), ([], "linear")):
        _, (panel,) = figures.panels(1, "", height=1.65)
        panel.plot(values)
        axes.set_log_if_wide(panel, values)
        assert panel.get_yscale() == scale
