"""Curves, history, contours, parallel coordinates, seeds, times and confusion show the tables' numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import stats

from raysl.errors import ResultsError
from raysl.reports import catalogue, confusion, contour, curves, figures, history, pairs, parallel, times
from raysl.reports.searched import is_grid, ranking, tied
from raysl.reports.stages import Searched, read_selected
from raysl.results.records.rows import Epoch

Made = Callable[..., str]
Params = Mapping[str, Any]
RATES, WEIGHTS = (0.001, 0.01, 0.1, 0.03, 0.003), (0.1, 0.9, 0.4, 0.6, 0.2)
CONFIGS = [{"optimizer.lr": lr, "method.w": w} for lr, w in zip(RATES, WEIGHTS, strict=True)]


def ended(params: Params, seed: int) -> dict[str, Any]:
    """Return a loss that is lowest at a rate of 0.03, half a unit more for seed 1, and its curve of three epochs."""
    loss = 1 + abs(np.log10(params["optimizer.lr"] / 0.03)) + 0.5 * seed * params["method.w"]
    curve = tuple(Epoch(epoch, 0.1, loss + 2 - epoch, {}, 1.0) for epoch in range(3))
    return {"final_loss": loss, "curve": curve, "epochs": 3, "seconds": 2.0 + seed}


def stage_of(made: Made, configs: Any = CONFIGS, outcome: Any = ended, **options: Any) -> Searched:
    [stage] = read_selected([made(("sweep", configs, outcome), rule="train_loss", **options)])
    return stage


def panel(figure: Figure) -> Axes:
    return figure.subfigs[0].axes[0]


def of_configs(axes: Axes) -> dict[str, Any]:
    """Return the artists that are of configs, by the config's id."""
    artists = [artist for artist in (*axes.lines, *axes.patches) if artist.get_gid()]
    return {artist.get_gid().removeprefix(figures.CONFIG): artist for artist in artists}


def test_all_configs_have_a_curve_with_a_band(made: Made) -> None:
    stage = stage_of(made)
    drawn = panel(curves.draw([""], [stage], ""))
    lines = of_configs(drawn)
    assert lines.keys() == {"c0", "c1", "c2", "c3", "c4"}
    seeds = np.array([[3.0, 2.0, 1.0], [3.3, 2.3, 1.3]])  # c3 is at the best rate, its weight is 0.6
    np.testing.assert_allclose(lines["c3"].get_ydata(), seeds.mean(axis=0))
    np.testing.assert_allclose(curves.by_config(stage)["c3"], seeds)
    [band] = [band for band in drawn.collections if to_hex(band.get_facecolor()[0]) == lines["c3"].get_color()]
    edges = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert (edges.min(), edges.max()) == pytest.approx((1.15 - 0.3 / 2**0.5, 3.15 + 0.3 / 2**0.5))
    legend = drawn.get_legend()
    assert sum("(selected)" in text.get_text() for text in legend.get_texts()) == 1
    assert len(legend.get_texts()) == 5


def test_of_many_configs_the_best_have_colours_and_one_entry_is_of_the_others(made: Made) -> None:
    configs = [{"optimizer.lr": 0.001 * 1.3**n, "method.w": 0.5} for n in range(14)]
    stage = stage_of(made, configs)
    drawn = panel(curves.draw([""], [stage], ""))
    assert len(of_configs(drawn)) == 14
    assert set(curves.named(stage)) == {config["config_id"] for config in ranking(stage)[:5]}
    assert [text.get_text() for text in drawn.get_legend().get_texts()][-1] == curves.OTHERS
    assert len(drawn.get_legend().get_texts()) == 6


def test_curves_of_a_config_that_diverged_leave_the_others_room(made: Made) -> None:
    curve = (Epoch(0, 0.1, 1e20, {}, 1.0), Epoch(1, 0.1, 1e25, {}, 1.0))
    diverged = {"status": "diverged", "reason": "non-finite loss", "final_loss": None, "curve": curve}

    def losses(params: Params, seed: int) -> dict[str, Any]:
        return diverged if params["optimizer.lr"] > 0.1 else ended(params, seed)

    for number, rates in enumerate(((0.001, 1.0), (*(0.001 * 1.2**n for n in range(8)), 1.0))):
        stage = stage_of(made, [{"optimizer.lr": lr, "method.w": 0.5} for lr in rates], losses, name=str(number))
        drawn = panel(curves.draw([""], [stage], ""))
        known = [curves.by_config(stage)[config["config_id"]] for config in ranking(stage)]
        (low, high), least, greatest = drawn.get_ylim(), np.min(known), np.max(known)
        assert 0.7 * least < low < least < greatest < high < 1.3 * greatest


def test_history_is_in_the_order_of_the_search_with_the_best_so_far(made: Made) -> None:
    stage = stage_of(made)
    drawn = panel(history.draw([""], [stage], ""))
    dots = of_configs(drawn)
    assert [float(dots[f"c{n}"].get_xdata()[0]) for n in range(5)] == [1, 2, 3, 4, 5]
    means = [config["final_loss_mean"] for config in stage.configs]
    assert [float(dots[f"c{n}"].get_ydata()[0]) for n in range(5)] == means
    best = [line for line in drawn.lines if len(line.get_xdata()) == 6]
    np.testing.assert_allclose(best[0].get_ydata()[:5], np.minimum.accumulate(means))


def test_a_grid_has_no_history(made: Made) -> None:
    stage = stage_of(made, [{"optimizer.lr": lr, "method.w": w} for lr in (0.1, 0.01) for w in (0.1, 0.9)])
    assert is_grid(stage)
    assert "all combinations" in history.obstacle(stage)


def test_lines_of_parallel_coordinates_cross_each_axis_at_their_values(made: Made) -> None:
    lines = of_configs(panel(parallel.draw([""], [stage_of(made)], "")))
    assert lines["c0"].get_ydata()[1] == 0  # the lowest rate
    assert lines["c2"].get_ydata()[1] == 1  # the highest
    assert lines["c1"].get_ydata()[1] == pytest.approx(0.5)  # half-way on a logarithmic scale
    assert lines["c1"].get_ydata()[0] == 1  # the highest weight
    assert lines["c3"].get_ydata()[2] == 0  # the lowest loss


def test_a_contour_lies_between_the_configs_on_their_own_scales(made: Made) -> None:
    stage = stage_of(made)
    assert contour.obstacle(stage) == ""
    dots = of_configs(panel(contour.draw([""], [stage], "")))
    places = {name: (float(dot.get_xdata()[0]), float(dot.get_ydata()[0])) for name, dot in dots.items()}
    assert places["c0"] == pytest.approx((0.1, -3))  # the weight itself, and the rate's logarithm
    assert len(places) == 5


@pytest.mark.parametrize(
    ("configs", "words"),
    [
        ([{"optimizer.lr": lr} for lr in RATES], "here they are 1: lr"),
        ([{"optimizer.lr": lr, "method.w": 10 * lr} for lr in RATES], "not on a line"),
        ([{"optimizer.lr": lr, "optimizer.name": name} for lr in (0.1, 0.2) for name in ("sgd", "adam")], "no numbers"),
    ],
)
def test_what_has_no_contour_says_why(made: Made, configs: Any, words: str) -> None:
    outcome = lambda params, seed: {"final_loss": params["optimizer.lr"]}  # noqa: E731
    assert words in contour.obstacle(stage_of(made, configs, outcome))


def test_the_best_configs_are_compared_with_the_selected_by_seed(made: Made) -> None:
    stage = stage_of(made, num_seeds=3)
    found = {one.config["config_id"]: one for one in pairs.pairs(stage)}
    assert found.keys() == {"c0", "c1", "c2", "c4"}
    selected = next(config["config_id"] for config in stage.configs if config["selected"])
    by_seed = {(trial["config_id"], trial["seed"]): trial["final_loss"] for trial in stage.trials}
    expected = [by_seed["c1", seed] - by_seed[selected, seed] for seed in range(3)]
    np.testing.assert_allclose(found["c1"].differences, expected)
    interval = stats.t.interval(0.95, 2, np.mean(expected), stats.sem(expected))
    np.testing.assert_allclose(found["c1"].interval, interval)


def test_one_seed_has_no_differences(made: Made) -> None:
    assert "one seed" in pairs.obstacle(stage_of(made, num_seeds=1))


def test_times_are_added_up(made: Made) -> None:
    stage = stage_of(made)
    one = times.cost(stage)
    assert (one.num_trials, one.seconds, one.worker_seconds) == (10, 25.0, 25.0)
    assert (one.elapsed, one.devices) == (1.0, ("cpu",))
    bars = of_configs(panel(times.draw([""], [stage], "")))
    assert {name: bar.get_height() for name, bar in bars.items()} == {f"c{n}": 2.5 for n in range(5)}


def test_ties_are_those_of_equal_value(made: Made) -> None:
    stage = stage_of(made, outcome=lambda params, seed: {"final_loss": 1.0 if params["method.w"] > 0.3 else 2.0})
    assert [config["config_id"] for config in tied(stage)] == ["c2", "c3"]
    assert tied(stage_of(made, outcome=ended)) == []


def test_rows_of_a_confusion_matrix_are_classes_in_per_cent(results: str) -> None:
    [stage] = read_selected([results], "semi")
    found = confusion.features(stage)
    matrix = confusion.matrix(found)
    np.testing.assert_allclose(matrix.sum(axis=1), 100)
    recall = np.mean([100 * (one.predicted[one.labels == 3] == 3).mean() for one in found])
    assert matrix[3, 3] == pytest.approx(recall)
    assert len(panel(confusion.draw([""], [stage], "")).texts) == 100


def test_every_figure_is_drawn_or_says_why_not(results: str, made: Made) -> None:
    for stage in [*read_selected([results]), stage_of(made)]:
        for kind in catalogue.FIGURES.values():
            if kind.name == "umap":
                continue  # it is compiled first; its own test has it
            if reason := kind.obstacle(stage):
                with pytest.raises(ResultsError, match=f"--figure {kind.name}: "):
                    catalogue.draw(kind, [stage], print)
                assert len(reason) > 5
            else:
                assert isinstance(catalogue.draw(kind, [stage], print), Figure)


def test_stages_without_data_are_left_out_and_named(results: str) -> None:
    stages = read_selected([results])
    told: list[str] = []
    figure = catalogue.draw(catalogue.FIGURES["loss_vs_lr"], stages, told.append)
    assert len(figure.subfigs[0].axes) == 1
    assert told == ["left out: tiny/finetune: no learning rate was searched"]
