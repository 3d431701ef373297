"""A panel for each term of a loss shows the mean over the seeds and their spread; sums are weighted as asked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from PIL import Image

from raysl.reports import figures, loss_curves, terms
from raysl.reports.stages import read_selected
from raysl.results.records.rows import Epoch

Made = Callable[..., str]
Run = Callable[..., tuple[str, str]]
# By seed and epoch.
ON, OFF, VIRTUAL = ((60.0, 40.0), (80.0, 50.0)), ((600.0, 700.0), (620.0, 740.0)), ((0.031, 0.030), (0.033, 0.029))


def of_trimix(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    curve = tuple(
        Epoch(
            epoch,
            0.1,
            on + 0.005 * off,
            {"on_diagonal": on, "off_diagonal": off, "virtual": virtual, "spread": 0.8, "confident": 0.5},
            1,
        )
        for epoch, (on, off, virtual) in enumerate(zip(ON[seed], OFF[seed], VIRTUAL[seed], strict=True))
    )
    return {"curve": curve, "epochs": 2, "method": "trimix"}


def of_one_term(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {"curve": tuple(Epoch(n, 0.1, 3.0 - n, {"supervised": 3.0 - n}, 1) for n in range(3)), "epochs": 3}


def frozen(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {"curve": (), "epochs": 0, "final_loss": None, "method": "frozen"}


TRIMIX = ("pretrain", [{}], of_trimix)


def drawn(uri: str, wanted: str, *, num_seeds: int = 2) -> dict[str, Axes]:
    stages = read_selected([uri])
    shown = terms.shown([stage.stage for stage in stages], [terms.curves(stage) for stage in stages], wanted)
    figure = terms.draw(shown, "note", log=False)
    assert len(figure.subfigs[0].legends[0].get_texts()) == num_seeds
    return {panel.get_title(): panel for panel in figure.subfigs[0].axes}


def band(panel: Axes) -> tuple[list[float], list[float]]:
    """Return the lower and the upper ends of what is filled, by epoch."""
    [filled] = panel.collections
    assert isinstance(filled, PolyCollection)
    points = filled.get_paths()[0].vertices
    heights = {x: sorted(set(points[points[:, 0] == x][:, 1])) for x in sorted(set(points[:, 0]))}
    return [own[0] for own in heights.values()], [own[-1] for own in heights.values()]


def test_each_term_is_a_panel_with_mean_and_spread_over_the_seeds(made: Made) -> None:
    panels = drawn(made(TRIMIX), "")
    assert list(panels) == ["on_diagonal", "off_diagonal", "virtual"]
    for name, values in (("on_diagonal", ON), ("off_diagonal", OFF), ("virtual", VIRTUAL)):
        [line] = panels[name].lines
        assert list(line.get_xdata()) == [1, 2]
        mean, std = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
        np.testing.assert_allclose(line.get_ydata(), mean)
        low, high = band(panels[name])
        np.testing.assert_allclose(low, mean - std)
        np.testing.assert_allclose(high, mean + std)
    assert len({panel.lines[0].get_color() for panel in panels.values()}) == 3


def test_a_band_of_positive_losses_stays_above_0() -> None:
    values = np.array([[0.5, 1.0, -1.0, 0.1], [0.6, 9.0, 1.0, np.nan]])
    edge = np.array([0.4, -0.7, -1.4, -0.2])
    np.testing.assert_allclose(terms.low_edge(values, edge), [0.4, 1.0, -1.4, 0.1])


def test_a_weighted_sum_is_the_loss_that_it_stands_for(made: Made) -> None:
    uri = made(TRIMIX)
    [stage] = read_selected([uri])
    found = terms.curves(stage)
    barlow, virtual = terms.parsed("barlow_twins=on_diagonal + 0.005*off_diagonal, virtual")
    np.testing.assert_allclose(barlow.of(found), found["total"])
    np.testing.assert_array_equal(virtual.of(found), VIRTUAL)
    assert (barlow.formula, virtual.formula) == ("barlow_twins = on_diagonal + 0.005 off_diagonal", "")
    assert list(drawn(uri, "virtual,barlow_twins=on_diagonal+0.005*off_diagonal")) == ["virtual", "barlow_twins"]


def test_one_seed_has_no_spread(made: Made) -> None:
    panels = drawn(made(TRIMIX, num_seeds=1), "virtual", num_seeds=1)
    assert len(panels["virtual"].collections) == 0
    np.testing.assert_array_equal(panels["virtual"].lines[0].get_ydata(), VIRTUAL[0])


def test_stages_are_shown_with_what_they_have(made: Made) -> None:
    uri = made(TRIMIX, ("linear", [{}], of_one_term))
    assert set(drawn(uri, "virtual,supervised")) == {"virtual, pretrain", "supervised, linear"}
    assert "total, linear" in drawn(uri, "total")


def test_the_report_draws_the_three_losses_whole_and_the_same(made: Made, run: Run, tmp_path: Path) -> None:
    uri, contents = made(TRIMIX), []
    for _ in range(2):
        _, said = run(loss_curves.main, uri, "--terms", "barlow_twins=on_diagonal+0.005*off_diagonal,virtual")
        contents.append([(tmp_path / "out" / f"loss_terms.{form}").read_bytes() for form in ("png", "svg")])
    assert contents[0] == contents[1]
    assert "loss_terms.png" in said
    assert b"barlow_twins = on_diagonal" in contents[0][1]
    assert not (tmp_path / "out" / "loss_curves.png").exists()
    with Image.open(tmp_path / "out" / "loss_terms.png") as image:
        image.load()
        assert image.width == figures.COLUMN * 300


def test_what_is_no_term_or_no_weight_is_refused(made: Made, fails: Callable[..., str]) -> None:
    uri = made(TRIMIX)
    message = fails(loss_curves.main, uri, "--terms", "on_diagonal+virtul")
    assert "--terms virtul: no stage has it; did you mean 'virtual'?" in message
    assert "choices: off_diagonal, on_diagonal, total, virtual" in message
    assert "half is no number" in fails(loss_curves.main, uri, "--terms", "half*virtual")


def test_what_trains_nothing_has_no_curves(made: Made, run: Run, fails: Callable[..., str]) -> None:
    uri = made(TRIMIX, ("knn", [{}], frozen))
    for options in ((), ("--terms",)):
        assert "left out: swept/knn, which trained nothing" in run(loss_curves.main, uri, *options)[0]
    assert "swept/knn: nothing was trained" in fails(loss_curves.main, uri, "--stages", "knn")


@pytest.mark.parametrize("name", ["pretrain", "linear"])
def test_the_plain_figure_is_as_before(made: Made, name: str) -> None:
    uri = made(TRIMIX, ("linear", [{}], of_one_term))
    [stage] = read_selected([uri], name)
    expected = {"total", "on_diagonal", "off_diagonal", "virtual"} if name == "pretrain" else {"total"}
    assert set(loss_curves.curves(stage)) == expected
