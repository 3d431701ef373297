"""A grid shows each pair of values with the numbers of its config, in the figure as in the table."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from PIL import Image

from raysl.errors import UserError
from raysl.reports import figures, grid
from raysl.reports.crossed import Grid, levels
from raysl.reports.crossed import grid as make_grid
from raysl.reports.stages import Searched, read_selected

Made = Callable[..., str]
Run = Callable[..., tuple[str, str]]
Params = Mapping[str, Any]
SIZES, WIDTHS = (64, 32), (2048, 128, 512)  # in the order of the search, which is no rising one
CONFIGS = [{"batch_size": size, "method.projector": width} for size in SIZES for width in WIDTHS]
FAILED: Mapping[str, Any] = {"final_loss": None, "probe_accuracy": None, "test_accuracy": None}


def trained(params: Params, seed: int) -> dict[str, Any]:
    """Return 0.51, 0.52, 0.54 over the widths, 0.1 more for 64, 0.01 around that by seed; 0.1 less on the test set."""
    place = {128: 0.01, 512: 0.02, 2048: 0.04}[params["method.projector"]]
    probe = 0.5 + place + (0.1 if params["batch_size"] == 64 else 0.0) + (0.01 if seed else -0.01)
    return {"probe_accuracy": probe, "test_accuracy": probe - 0.1}


def with_collapses(params: Params, seed: int) -> dict[str, Any]:
    if params["method.projector"] == 2048 and seed == 1:
        return {**FAILED, "status": "collapsed", "reason": "all features alike"}
    return trained(params, seed)


def searched(uri: str) -> Searched:
    [stage] = read_selected([uri])
    return stage


def rows(one: Grid, column: str) -> list[tuple[str, ...]]:
    return list(grid.table("title", one, column).rows)


def drawn(one: Grid, column: str) -> Axes:
    figure = grid.draw([("", one, column)], "note")
    [panel] = figure.subfigs[0].axes
    return panel


def curves(panel: Axes) -> dict[str, list[tuple[float, float, float]]]:
    """Return places, means and half of the bars' lengths of each line, by its colour."""
    found = {}
    for own in panel.containers:
        assert isinstance(own, ErrorbarContainer)
        line, _, (bars,) = own
        halves = [(high - low) / 2 for (_, low), (_, high) in bars.get_segments()]
        points = zip(*line.get_data(), halves, strict=True)
        found[to_hex(line.get_color())] = [tuple(round(float(value), 6) for value in point) for point in points]
    return found


def test_the_key_of_more_values_is_the_axis_and_the_other_the_lines(made: Made) -> None:
    square = [config for config in CONFIGS if config["method.projector"] != 512]
    uri = made(("pretrain", CONFIGS, trained), ("square", square, trained))
    one, equal = (make_grid(read_selected([uri], name)[0], None, None) for name in ("pretrain", "square"))
    assert (one.x.name, one.lines.name) == ("projector", "batch_size")
    assert (levels(one.x), levels(one.lines)) == ([128, 512, 2048], [32, 64])
    assert one.columns("seconds") == ["seconds"]
    assert (equal.x.name, equal.lines.name) == ("projector", "batch_size")
    turned = make_grid(one.stage, None, "method.projector")
    assert (turned.x.name, turned.lines.name) == ("batch_size", "projector")


def test_each_line_has_its_configs_means_and_bars_at_their_places(made: Made) -> None:
    one = make_grid(searched(made(("pretrain", CONFIGS, trained))), None, None)
    bar = round(np.std([1.0, -1.0], ddof=1), 6)
    for column, less in (("probe_accuracy", 0), ("test_accuracy", 10)):
        panel = drawn(one, column)
        assert curves(panel) == {
            figures.PALETTE[0]: [(128, 51 - less, bar), (512, 52 - less, bar), (2048, 54 - less, bar)],
            figures.PALETTE[1]: [(128, 61 - less, bar), (512, 62 - less, bar), (2048, 64 - less, bar)],
        }
        [star] = [line for line in panel.lines if line.get_marker() == "*"]
        assert (star.get_xdata()[0], round(star.get_ydata()[0], 6)) == (2048, 64 - less)
        assert panel.get_xscale() == "log"
        assert [label.get_text() for label in panel.get_xticklabels()] == ["128", "512", "2048"]
    [legend] = grid.draw([("", one, "probe_accuracy")], "note").subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["batch_size 32", "batch_size 64", "selected"]


def test_the_report_says_the_same_is_whole_and_comes_out_the_same(made: Made, run: Run, tmp_path: Path) -> None:
    uri = made(("pretrain", CONFIGS, trained))
    contents = []
    for _ in range(2):
        printed, said = run(grid.main, uri)
        contents.append([(tmp_path / "out" / f"grid.{form}").read_bytes() for form in ("png", "svg", "txt")])
    assert contents[0] == contents[1]
    assert "grid.svg" in said
    assert contents[0][2].decode() == printed
    with Image.open(tmp_path / "out" / "grid.png") as image:
        image.load()
        assert image.width == figures.COLUMN * 300
    probe, test = printed.split("test accuracy (%): swept/pretrain, digits, 50 labels")
    assert "batch_size  projector 128  projector 512  projector 2048" in probe
    assert "32           51.00 ± 1.41   52.00 ± 1.41    54.00 ± 1.41" in probe
    assert "64           51.00 ± 1.41   52.00 ± 1.41    54.00 ± 1.41" in test
    assert printed.count("Selected: batch_size 64, projector 2048.") == 2


def test_configs_without_a_mean_are_marked_and_listed(made: Made, run: Run) -> None:
    uri = made(("pretrain", CONFIGS, with_collapses))
    one = make_grid(searched(uri), None, None)
    panel = drawn(one, "probe_accuracy")
    assert [place for place, *_ in curves(panel)[figures.PALETTE[0]]] == [128, 512]
    marks = [(*line.get_xydata()[0], to_hex(line.get_color())) for line in panel.lines if line.get_marker() == "1"]
    assert marks == [(2048, grid.TOP, figures.PALETTE[0]), (2048, grid.TOP - grid.STEP, figures.PALETTE[1])]
    assert rows(one, "probe_accuracy")[0] == ("32", "51.00 ± 1.41", "52.00 ± 1.41", "-")
    printed, _ = run(grid.main, uri)
    assert "not eligible: swept/pretrain, batch_size 32, projector 2048: seed 1 collapsed" in printed


def test_test_accuracy_is_shown_where_all_are_scored_or_alone(made: Made, run: Run) -> None:
    def half_scored(params: Params, seed: int) -> dict[str, Any]:
        return trained(params, seed) | ({"test_accuracy": None} if params["batch_size"] == 32 else {})

    uri = made(("pretrain", CONFIGS, half_scored))
    one = make_grid(searched(uri), None, None)
    assert one.columns(None) == ["probe_accuracy"]
    assert one.columns("test_accuracy") == ["test_accuracy"]
    assert rows(one, "test_accuracy") == [
        ("32", "-", "-", "-"),
        ("64", "51.00 ± 1.41", "52.00 ± 1.41", "54.00 ± 1.41"),
    ]
    assert "3 of 6 eligible configs are not scored; `raysl tune --score all`" in run(grid.main, uri)[0]


def test_of_several_configs_at_a_place_the_one_that_the_rule_puts_first_is_shown(made: Made) -> None:
    configs = [{**config, "optimizer.lr": lr} for config in CONFIGS for lr in (0.1, 0.01, 0.001)]

    def by_rate(params: Params, seed: int) -> dict[str, Any]:
        more = {0.1: 0.0, 0.01: 0.2, 0.001: 0.2}[params["optimizer.lr"]]  # two are equal
        found = trained({k: params[k] for k in ("batch_size", "method.projector")}, seed)
        test = 0.9 if params["optimizer.lr"] == 0.1 else 0.3 if params["optimizer.lr"] == 0.01 else 0.2
        return {"probe_accuracy": found["probe_accuracy"] + more, "test_accuracy": test}

    uri = made(("pretrain", configs, by_rate))
    one = make_grid(searched(uri), "projector", "batch_size")
    assert {config["params.optimizer.lr"] for config in one.cells("test_accuracy").values()} == {0.01}
    assert len(one.cells("probe_accuracy")) == 6
    assert rows(one, "test_accuracy") == [(size, *["30.00 ± 0.00"] * 3) for size in ("32", "64")]
    assert "the one that the rule puts first" in " ".join(grid.table("title", one, "test_accuracy").notes)


def test_the_lowest_is_first_where_the_rule_says_so(made: Made) -> None:
    configs = [{**config, "optimizer.lr": lr} for config in CONFIGS for lr in (0.1, 0.01)]
    uri = made(("pretrain", configs, lambda params, seed: {"final_loss": params["optimizer.lr"]}), rule="train_loss")
    one = make_grid(searched(uri), "projector", "batch_size")
    assert {config["params.optimizer.lr"] for config in one.cells("final_loss").values()} == {0.01}
    assert one.columns(None) == ["final_loss"]


def test_words_lie_side_by_side(made: Made) -> None:
    configs = [{"kind": kind, "batch_size": size} for kind in ("b", "c", "a") for size in (32, 64)]
    uri = made(("pretrain", configs, lambda params, seed: {"probe_accuracy": 0.5}))
    panel = drawn(make_grid(searched(uri), None, None), "probe_accuracy")
    assert [label.get_text() for label in panel.get_xticklabels()] == ["a", "b", "c"]
    assert panel.get_xscale() == "linear"


def test_stages_that_are_no_grid_are_left_out_or_refused(made: Made, run: Run, fails: Callable[..., str]) -> None:
    uri = made(("pretrain", CONFIGS, trained), ("linear", [{"optimizer.lr": 0.1}], lambda params, seed: {}))
    assert "left out: swept/linear: fewer than two hyperparameters were searched" in run(grid.main, uri)[0]
    assert "swept/linear: fewer than two" in fails(grid.main, uri, "--stages", "linear")
    message = fails(grid.main, uri, "--x", "projectr")
    assert "--x projectr: not searched; did you mean 'projector'? choices: batch_size, projector" in message
    assert "--x and --lines are both projector" in fails(grid.main, uri, "--x", "projector", "--lines", "projector")


def test_more_keys_or_lines_than_can_be_told_apart_are_refused(made: Made) -> None:
    three = [{**config, "optimizer.lr": lr} for config in CONFIGS for lr in (0.1, 0.01)]
    many = [{"w": w / 10, "v": v / 10} for w, v in zip(range(11), range(11), strict=True)]
    uri = made(("three", three, lambda params, seed: {}), ("many", many, lambda params, seed: {}))
    stages = {stage.stage: stage for stage in read_selected([uri])}
    with pytest.raises(UserError, match="more than two hyperparameters were searched: batch_size, lr, projector"):
        make_grid(stages["three"], "projector", None)
    with pytest.raises(UserError, match="11 values of v, and there is room for 10 lines"):
        make_grid(stages["many"], None, None)


def test_nothing_measured_is_one_message(made: Made, fails: Callable[..., str]) -> None:
    uri = made(("pretrain", CONFIGS, lambda params, seed: {"probe_accuracy": 0.5}))
    assert "6 of 6 eligible configs are not scored" in fails(grid.main, uri, "--column", "test_accuracy")


def test_several_searches_are_panels_under_what_tells_them_apart(made: Made) -> None:
    uri = made(("a", CONFIGS, trained), ("b", CONFIGS, trained))
    every = [make_grid(stage, None, None) for stage in read_selected([uri])]
    headed, note = grid._headed(grid._panels(every, None))
    assert [(title, column) for title, _, column in headed] == [
        ("swept/a", "probe_accuracy"), ("swept/a", "test_accuracy"),
        ("swept/b", "probe_accuracy"), ("swept/b", "test_accuracy"),
    ]  # fmt: skip
    assert note.endswith("; digits, 50 labels")


def test_where_no_two_configs_share_a_value_there_are_no_lines(made: Made, fails: Callable[..., str]) -> None:
    configs = [{"batch_size": 8 + place, "method.projector": 16 * place} for place in range(1, 7)]
    uri = made(("sweep", configs, lambda params, seed: {"probe_accuracy": 0.5}))
    assert "no two configs share a value" in fails(grid.main, uri)


def test_no_accuracy_is_above_100(made: Made) -> None:
    configs = [{"batch_size": size, "method.projector": width} for size in SIZES for width in WIDTHS]
    stage = searched(made(("sweep", configs, lambda params, seed: {"probe_accuracy": 1.0 - 0.05 * seed})))
    panel = drawn(make_grid(stage, None, None), "probe_accuracy")
    assert panel.get_ylim()[1] <= 100
    assert max(panel.get_yticks()) <= 102.5
