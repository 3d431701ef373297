"""Figures show the tables' numbers, are whole files, and come out the same every time."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from raysl.reports import audit, figures, loss_curves, loss_vs_lr, projections, tsne
from raysl.reports.stages import Searched, read_selected
from raysl.results import read
from raysl.results.records.rows import Epoch, read_row, write_row
from raysl.results.storage.store import Store

Run = Callable[..., tuple[str, str]]
REPORTS: list[tuple[ModuleType, str, tuple[Any, ...]]] = [
    (audit, "audit", ()),
    (loss_curves, "loss_curves", ()),
    (loss_vs_lr, "loss_vs_lr", ()),
    (tsne, "tsne", ("--images", 40)),
]


def panels(figure: Figure) -> list[Axes]:
    return [axes for part in figure.subfigs for axes in part.axes]


def stage_of(results: str, name: str = "semi") -> Searched:
    return read_selected([results], name)[0]


@pytest.mark.parametrize(("report", "name", "options"), REPORTS, ids=[name for _, name, _ in REPORTS])
def test_png_and_svg_are_whole_and_come_out_the_same(
    results: str, run: Run, tmp_path: Path, report: ModuleType, name: str, options: tuple[Any, ...]
) -> None:
    contents = []
    for _ in range(2):
        _, said = run(report.main, results, *options)
        paths = [tmp_path / "out" / f"{name}.{form}" for form in ("png", "svg")]
        assert all(f"wrote {path}" in said for path in paths)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    with Image.open(paths[0]) as image:
        image.load()
        assert image.width == figures.COLUMN * 300
    assert ET.parse(paths[1]).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_last_point_of_a_curve_is_the_final_loss(results: str) -> None:
    stage = stage_of(results)
    found = loss_curves.curves(stage)
    assert set(found) == {"total", "supervised", "rotation"}
    assert {curve.shape for curve in found.values()} == {(2, 4)}
    assert found["total"][:, -1].tolist() == [trial["final_loss"] for trial in stage.selected]
    np.testing.assert_allclose(found["supervised"] + found["rotation"], found["total"])  # both weights are 1


def test_a_loss_of_one_term_is_drawn_once(results: str) -> None:
    assert set(loss_curves.curves(stage_of(results, "finetune"))) == {"total"}


def test_curves_are_thin_by_seed_and_bold_in_the_mean(results: str) -> None:
    found = loss_curves.curves(stage_of(results))
    [panel] = panels(loss_curves.draw(["semi"], [found], "note", log=False))
    *seeds, mean, supervised, rotation = panel.lines
    assert len(seeds) == 2
    for seed, expected in zip(seeds, found["total"], strict=True):
        assert seed.get_xdata().tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(seed.get_ydata(), expected)
        assert seed.get_linewidth() < mean.get_linewidth() / 2
    np.testing.assert_allclose(mean.get_ydata(), found["total"].mean(axis=0))
    assert [line.is_dashed() for line in (mean, supervised, rotation)] == [False, True, True]


def test_each_stage_has_a_loss_axis_of_its_own(results: str) -> None:
    shown = [loss_curves.curves(stage) for stage in read_selected([results])]
    first, second = panels(loss_curves.draw(["semi", "finetune"], shown, "note", log=False))
    assert first.get_ylim() != second.get_ylim()


def test_the_selected_learning_rate_is_marked_and_seeds_are_dots(results: str) -> None:
    stage = stage_of(results)
    [panel] = panels(loss_vs_lr.draw(["semi"], [stage], "note", log=False))
    selected = next(config for config in stage.configs if config["selected"])
    [star] = [line for line in panel.lines if line.get_marker() == "*"]
    assert star.get_xdata() == [selected["params.optimizer.lr"]]
    assert star.get_ydata() == [selected["final_loss_mean"]]
    dots = [height for dots in panel.collections for height in np.asarray(dots.get_offsets())[:, 1]][-4:]
    assert sorted(dots) == sorted(trial["final_loss"] for trial in stage.trials)
    assert panel.get_xscale() == "log"


def test_a_diverged_config_is_marked_and_has_no_mean(changed: Path, republish: Callable[[Path], None]) -> None:
    store = Store.open(str(changed), create=False)
    trials = [trial for trial in read(str(changed)).trials.to_pylist() if trial["stage"] == "semi"]
    other = next(trial for trial in trials if not trial["selected"])
    row = read_row(store, other["trial_id"])
    assert row is not None
    write_row(store, replace(row, status="diverged", reason="non-finite loss", final_loss=None))
    republish(changed)
    figure = loss_vs_lr.draw(["semi"], [stage_of(str(changed))], "note", log=False)
    [panel] = panels(figure)
    [cross] = [line for line in panel.lines if line.get_marker() == "x"]
    assert cross.get_xdata() == [other["params.optimizer.lr"]]
    [mean] = [line for line in panel.lines if line.get_marker() == "None" and len(line.get_xdata()) == 1]
    assert mean.get_xdata()[0] != other["params.optimizer.lr"]
    [legend] = figure.subfigs[0].legends
    assert "not eligible: a seed diverged" in [text.get_text() for text in legend.get_texts()]


def ended_early(params: dict[str, Any], seed: int) -> dict[str, Any]:
    if params["optimizer.lr"] == 0.1 and seed == 0:
        return {"status": "collapsed", "reason": "all features alike", "final_loss": None, "probe_accuracy": None}
    return {"final_loss": 1 + params["optimizer.lr"] + params["batch_size"] / 100}


def test_a_collapsed_config_is_marked_as_such_and_listed(made: Callable[..., str], run: Run) -> None:
    configs = [{"optimizer.lr": lr, "batch_size": size} for lr in (0.1, 0.01) for size in (32, 64)]
    uri = made(("sweep", configs, ended_early), rule="train_loss")
    figure = loss_vs_lr.draw(["sweep"], [stage_of(uri, "sweep")], "note", log=False)
    [panel] = panels(figure)
    assert [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "1"] == [0.1, 0.1]
    [legend] = figure.subfigs[0].legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["batch_size 32", "batch_size 64", "selected", "not eligible: a seed collapsed"]
    printed, _ = run(loss_vs_lr.main, uri)
    lines = [
        f"not eligible: swept/sweep, batch_size {n}, lr 0.1: seed 0 collapsed (all features alike)" for n in (32, 64)
    ]
    assert printed.splitlines() == lines


def test_after_a_random_search_no_lines_are_drawn(made: Callable[..., str]) -> None:
    configs = [{"optimizer.lr": 0.01 / (1 + place % 3), "batch_size": 8 + place} for place in range(12)]
    stage = stage_of(made(("sweep", configs, ended_early), rule="train_loss"), "sweep")
    assert [len(own) for own in loss_vs_lr.lines(stage).values()] == [12]
    [panel] = panels(loss_vs_lr.draw(["sweep"], [stage], "note", log=False))
    assert not [line for line in panel.lines if len(line.get_xdata()) > 1 and line.get_linestyle() == "-"]
    assert [len(own) for own in loss_vs_lr.lines(replace(stage, configs=stage.configs[:10])).values()] == [10]


def test_the_spread_of_embeddings_is_no_loss(made: Callable[..., str]) -> None:
    curve = (Epoch(0, 0.1, -0.9, {"similarity": -0.9, "spread": 0.8}, 1.0),)
    uri = made(("simsiam", [{}], lambda params, seed: {"curve": curve}))
    assert set(loss_curves.curves(stage_of(uri, "simsiam"))) == {"total"}


def test_tsne_shows_the_same_images_in_both_panels_in_their_classes_colours(results: str) -> None:
    stages = read_selected([results])
    shown = [stage.features(stage.selected[0]) for stage in stages]
    places = projections.subsample(len(shown[0].labels), 60)
    figure = projections.draw(tsne.PROJECTION, ["semi", "finetune"], shown, places, "note")
    expected = [int(np.sum(shown[0].labels[places] == place)) for place in range(10)]
    for panel in panels(figure):
        assert [len(np.asarray(dots.get_offsets())) for dots in panel.collections] == expected
        assert [to_hex(dots.get_facecolors()[0]) for dots in panel.collections] == list(figures.PALETTE)
    [legend] = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == list("0123456789")


def test_the_subsample_is_stated_and_seeded(results: str) -> None:
    assert projections.subsample(500, 60).tolist() == projections.subsample(500, 60).tolist()
    assert len(set(projections.subsample(500, 60).tolist())) == 60
    assert projections.subsample(50, 60).tolist() == list(range(50))
    few, whole = (projections.note(tsne.PROJECTION, num, total, 0, "") for num, total in ((60, 500), (50, 50)))
    assert (
        few
        == "t-SNE with perplexity 19.6667 of the features of 60 of 500 test images drawn at random; trials of seed 0"
    )
    assert "all 50 test images" in whole


def test_classes_beyond_the_palette_differ_by_their_markers() -> None:
    styles = {(figures.colour(place), figures.marker(place)) for place in range(100)}
    assert len(styles) == 100


def test_a_legend_has_as_many_columns_as_there_is_room_for() -> None:
    assert figures.legend_columns(list("0123456789")) == 5
    assert figures.legend_columns(["a class of a long name of some forty letters"] * 3) == 1
    assert figures.legend_columns(["mean of the seeds", "a seed", "supervised", "rotation"]) == 4
    batches = [f"batch_size {size}" for size in (32, 64, 128, 256, 512)]
    assert figures.legend_columns([*batches, "selected", "not eligible: a seed diverged"]) == 2  # three are too wide


def test_titles_break_after_their_parts() -> None:
    assert figures.wrapped("rotation_semi/semi, fashion_mnist, 600 labels", 27).split("\n") == [
        "rotation_semi/semi,",
        "fashion_mnist, 600 labels",
    ]
    assert figures.wrapped("a_name_that_is_too_long/b", 12).split("\n") == ["a_name_that_", "is_too_long/", "b"]


def test_dots_lie_at_their_learning_rate_and_no_tick_touches_another(made: Callable[..., str]) -> None:
    rates = [0.001 * 1.2**place for place in range(9)]
    configs = [{"optimizer.lr": lr, "batch_size": 8 + place} for place, lr in enumerate(rates)]
    stage = stage_of(made(("sweep", configs, ended_early), rule="train_loss"), "sweep")
    figure = loss_vs_lr.draw([""], [stage], "note", log=False)
    [panel] = panels(figure)
    dots = [own for own in panel.collections if isinstance(own, PathCollection)]
    assert {float(place) for own in dots for place in np.asarray(own.get_offsets())[:, 0]} == set(rates)
    [legend] = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["various other values", "selected"]
    assert not panel.xaxis.get_minorticklocs().size


def test_a_figure_has_the_width_and_the_letters_that_are_asked_for(results: str, tmp_path: Path) -> None:
    with figures.laid_out(figures.Layout(width=figures.PAGE, font_size=10, has_notes=False)):
        figure = loss_vs_lr.draw(["semi"], [stage_of(results)], "a note", log=False)
        [panel] = panels(figure)
        assert panel.xaxis.label.get_size() == 10
        assert figure.get_size_inches()[0] == figures.PAGE
        assert not [text for part in figure.subfigs for text in part.texts if text.get_text()]
    figures.save_as(figure, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
