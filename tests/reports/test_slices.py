"""Slices show each config's mean at its value, and the configs that cannot be chosen with what befell them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from raysl.reports import figures, slices
from raysl.reports.searched import searched_keys
from raysl.reports.stages import Searched, read_selected

Made = Callable[..., str]
Run = Callable[..., tuple[str, str]]
Params = Mapping[str, Any]
W = (0.5, 0.0, 1.0, 0.25)  # in the order of the search
FAILED: Mapping[str, Any] = {"final_loss": None, "probe_accuracy": None, "test_accuracy": None}


def of_w(params: Params, seed: int) -> dict[str, Any]:
    if params["w"] == 1.0 and seed == 1:
        return {**FAILED, "status": "collapsed", "reason": "all features alike"}
    accuracy = 0.8 - abs(params["w"] - 0.3) + 0.02 * seed
    return {"probe_accuracy": accuracy, "test_accuracy": accuracy - 0.1}


def panels(figure: Figure) -> list[Axes]:
    return [axes for part in figure.subfigs for axes in part.axes]


def drawn(stage: Searched, column: str) -> tuple[Figure, list[Axes]]:
    figure = slices.draw([("", stage, key, column) for key in searched_keys(stage)], "note")
    return figure, panels(figure)


def marks(panel: Axes, marker: str) -> list[tuple[float, float]]:
    return [tuple(line.get_xydata()[0]) for line in panel.lines if line.get_marker() == marker]


def bars(panel: Axes) -> list[tuple[float, float, float, str]]:
    """Return place, mean, half a bar's length and colour of each config."""
    found = []
    for own in panel.containers:
        assert isinstance(own, ErrorbarContainer)
        points, _, (bar,) = own
        [(x, y)] = points.get_xydata()
        [[(_, low), (_, high)]] = bar.get_segments()
        found.append((x, y, (high - low) / 2, to_hex(points.get_color())))
    return found


def labels(figure: Figure) -> list[str]:
    [legend] = figure.subfigs[0].legends
    return [text.get_text() for text in legend.get_texts()]


def test_one_key_is_a_line_by_its_value_with_the_test_accuracy_beside_it(made: Made) -> None:
    [stage] = read_selected([made(("sidae", [{"w": w} for w in W], of_w))])
    figure, [panel] = drawn(stage, "probe_accuracy")
    probe, test = [line for line in panel.lines if len(line.get_xdata()) == 3]
    assert list(probe.get_xdata()) == [0.0, 0.25, 0.5]  # the collapsed 1.0 has no mean
    np.testing.assert_allclose(probe.get_ydata(), [51, 76, 61])
    np.testing.assert_allclose(test.get_ydata(), [41, 66, 51])
    assert probe.get_color() != test.get_color()
    assert marks(panel, "*") == [(0.25, pytest.approx(76))]
    assert marks(panel, "1") == [(1.0, slices.TOP)]
    assert {round(half, 6) for _, _, half, _ in bars(panel)} == {round(100 * np.std([0, 0.02], ddof=1), 6)}
    expected = ["probe accuracy", "test accuracy", "selected", "not eligible: a seed collapsed"]
    assert labels(figure) == expected
    assert panel.get_ylabel() == "accuracy (%)"


def test_test_accuracy_is_shown_where_all_configs_have_it_or_alone(made: Made) -> None:
    def half_scored(params: Params, seed: int) -> dict[str, Any]:
        return of_w(params, seed) | ({} if params["w"] else {"test_accuracy": None})

    [stage] = read_selected([made(("sidae", [{"w": w} for w in W], half_scored))])
    assert slices.columns(stage, "probe_accuracy") == ["probe_accuracy"]
    assert len(bars(drawn(stage, "test_accuracy")[1][0])) == 2
    assert len(bars(drawn(stage, "probe_accuracy")[1][0])) == 3


def test_several_keys_are_a_panel_each_with_the_order_as_colour(made: Made) -> None:
    values = [(0.001, "b"), (0.1, "a"), (0.01, "b"), (0.01, "a")]
    configs = [{"lr": lr, "kind": kind, "w": 1 + lr} for lr, kind in values]

    def ended(params: Params, seed: int) -> dict[str, Any]:
        if params["lr"] == 0.001:
            return {**FAILED, "status": "stopped" if seed else "diverged", "reason": "hopeless"}
        return {"final_loss": params["lr"] + (params["kind"] == "b") + seed}

    [stage] = read_selected([made(("semi", configs, ended), rule="train_loss")])
    figure, axes = drawn(stage, "final_loss")
    kind, lr, w = axes
    assert [panel.get_xlabel() for panel in axes] == ["kind", "lr", "w"]
    assert [panel.get_xscale() for panel in axes] == ["linear", "log", "linear"]
    assert lr.xaxis.get_major_formatter()(0.01) == "0.01"
    assert sorted((x, round(y, 6)) for x, y, _, _ in bars(lr)) == [(0.01, 0.51), (0.01, 1.51), (0.1, 0.6)]
    assert not [line for line in lr.lines if len(line.get_xdata()) > 1]
    colours = {round(x, 3): colour for x, _, _, colour in bars(w)}
    assert len({colour for _, _, _, colour in bars(lr)}) == 3
    assert colours[1.1] == to_hex(slices.ORDER(slices.LIGHTEST / 3))  # second of four
    assert {text.get_text(): text.get_position()[0] for text in kind.get_xticklabels()} == {"a": 0, "b": 1}
    assert sorted((round(x), round(y, 6)) for x, y, _, _ in bars(kind)) == [(0, 0.51), (0, 0.6), (1, 1.51)]
    assert marks(lr, "x") == [(0.001, slices.TOP)]  # diverged counts before stopped
    assert "not eligible: a seed diverged" in labels(figure)
    assert "not eligible: a seed was stopped" not in labels(figure)
    assert {"first of the search", "last of the search"} <= set(labels(figure))


def test_the_report_says_what_it_leaves_out(made: Made, run: Run, fails: Callable[..., str]) -> None:
    plain = ("plain", [{}], lambda params, seed: {})
    uri = made(("sidae", [{"w": w} for w in W], of_w), plain)
    printed, _ = run(slices.main, uri)
    assert "left out: swept/plain: no hyperparameter was searched" in printed
    assert "not eligible: swept/sidae, w 1: seed 1 collapsed (all features alike)" in printed
    assert "swept/plain: no hyperparameter was searched" in fails(slices.main, uri, "--stages", "plain")


def test_unscored_configs_are_answered_with_the_way_to_score_them(made: Made, fails: Callable[..., str]) -> None:
    uri = made(("sidae", [{"w": w} for w in W], lambda params, seed: {}))
    assert "`raysl tune --score all` scores them" in fails(slices.main, uri, "--column", "test_accuracy")


def test_a_logarithmic_axis_has_ticks_for_its_own_range() -> None:
    axes = Figure().add_subplot()
    axes.plot([32, 256], [1e-6, 1e6])
    figures.set_log(axes, "x")
    assert {50, 100, 200} <= set(axes.get_xticks())
    assert axes.get_yscale() == "linear"


def test_long_legends_have_room_below_the_panels() -> None:
    few, _ = figures.panels(1, "note", height=1.0, legend=["a", "b"])
    many, _ = figures.panels(1, "note", height=1.0, legend=["a label that is as long as half the figure"] * 7)
    assert many.get_figheight() == pytest.approx(few.get_figheight() + 5 * figures.LEGEND_LINE)
