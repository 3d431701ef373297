"""Any number of stages lie side by side; UMAP says what it needs, and gives the same figure for the same features."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raysl.reports import projections, tsne, umap
from raysl.reports.stages import read_selected
from raysl.results.records.features import Features, write_features
from raysl.results.storage.store import Store

Run = Callable[..., tuple[str, str]]
WIDE = replace(tsne.PROJECTION, name="wide", most=3)


def draw_wide(arguments: object) -> None:
    projections.main(WIDE, "", arguments)  # type: ignore[arg-type]


def rewrite(folder: Path, stage: str, change: Callable[[Features], Features]) -> None:
    """Change the kept features of a stage's selected trials."""
    [found] = read_selected([str(folder)], stage)
    for trial in found.selected:
        write_features(Store.open(str(folder), create=False), change(found.features(trial)))


def test_each_folder_has_its_panel_and_the_legend_is_there_once(results: str, changed: Path) -> None:
    rewrite(changed, "semi", lambda found: replace(found, features=found.features[:, ::-1].copy() ** 2))
    stages = [*read_selected([results]), *read_selected([str(changed)], "semi")]
    shown = [stage.features(stage.selected[0]) for stage in stages]
    places = projections.subsample(500, 30)
    figure = projections.draw(WIDE, ["a", "b", "c"], shown, places, "note")
    panels = figure.subfigs[0].axes
    assert [panel.get_title() for panel in panels] == ["a", "b", "c"]
    for panel, features in zip(panels, shown, strict=True):
        points = np.concatenate([np.asarray(dots.get_offsets()) for dots in panel.collections])
        labels = features.labels[places]
        order = np.argsort(labels, kind="stable")
        np.testing.assert_allclose(points, WIDE.embed(features.features[places])[order], rtol=1e-5)
    assert [len(part.legends) for part in figure.subfigs] == [1, 0]


def test_the_same_features_are_shown_once_unless_asked_for(
    results: str, changed: Path, run: Run, fails: Callable[..., str], tmp_path: Path
) -> None:
    [twin] = read_selected([str(changed)], "semi")
    other = twin.features(twin.selected[0]).features
    rewrite(changed, "finetune", lambda found: replace(found, features=other))
    printed, said = run(draw_wide, changed, "--images", 20, "--seed", 0)
    assert printed == "left out: tiny/finetune: its features are those of tiny/semi\n"
    assert str(tmp_path / "out" / "wide.png") in said
    assert run(draw_wide, changed, "--images", 20, "--seed", 0, "--stages", "semi,finetune")[0] == ""


def test_more_stages_than_fit_and_other_images_are_refused(
    results: str, changed: Path, fails: Callable[..., str]
) -> None:
    rewrite(changed, "semi", lambda found: replace(found, features=found.features + 1))
    message = fails(tsne.main, results, changed)
    assert "3 stages are selected, and 2 go side by side" in message
    assert "tiny/semi, tiny/finetune" in message or "tiny/finetune, tiny/semi" in message
    rewrite(changed, "semi", lambda found: replace(found, labels=found.labels[::-1].copy()))
    assert "are of other test images" in fails(draw_wide, results, changed)


def test_without_umap_learn_the_way_to_it_is_one_message(
    results: str, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    assert "umap-learn is not installed; `uv sync --extra umap`" in fails(umap.main, results, "--stages", "semi")
    assert not (tmp_path / "out").exists()


def test_neighbours_are_never_more_than_there_are() -> None:
    assert [umap.neighbours(num) for num in (4, 15, 16, 2000)] == [3, 14, 15, 15]
    assert umap.PROJECTION.setting(10) == "9 neighbours and a least distance of 0.1"


@pytest.mark.slow  # umap-learn is compiled first
def test_umap_keeps_neighbours_together_and_comes_out_the_same(results: str, run: Run, tmp_path: Path) -> None:
    centres = np.repeat(np.eye(3, 8, dtype=np.float32) * 20, 20, axis=0)
    blobs = centres + np.random.default_rng(0).normal(size=centres.shape).astype(np.float32)
    points = umap.embed(blobs)
    assert points.shape == (60, 2)
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert np.array_equal(apart.argmin(axis=1) // 20, np.arange(60) // 20)
    contents = []
    for _ in range(2):
        run(umap.main, results, "--images", 40)
        contents.append([(tmp_path / "out" / f"umap.{form}").read_bytes() for form in ("png", "svg")])
    assert contents[0] == contents[1]
    assert umap.embed(blobs[:4]).shape == (4, 2)
