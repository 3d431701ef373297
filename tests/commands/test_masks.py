"""A search of images with masks, as its user sees it: tables, the report, its figure, and the model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import CLASSES, experiment, scene
from tiny import Finished, here

import raysl
from raysl.reports import masks
from raysl.reports.stages import Searched, read_stages


@pytest.fixture(scope="module")
def searched(finished: Callable[..., Finished], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finished(experiment(tmp_path_factory.mktemp("scenes")))


def test_its_tables_have_the_mean_iou_and_no_accuracy(searched: Finished) -> None:
    tables = raysl.read(str(searched.results))
    trials = tables.trials.to_pylist()
    assert all(trial["probe_mean_iou"] is not None and trial["probe_accuracy"] is None for trial in trials)
    assert {trial["test_mean_iou"] is not None for trial in trials if trial["selected"]} == {True}
    assert "test mean IoU %" in searched.printed
    assert "accuracy" not in searched.printed
    chosen = next(config for config in tables.configs.to_pylist() if config["selected"])
    assert chosen["params.optimizer.lr"] == 1e-2
    assert chosen["test_mean_iou_mean"] > 0.6


def test_the_page_has_the_iou_of_each_class_and_a_picture(searched: Finished, tmp_path: Path) -> None:
    [stage] = read_stages([str(searched.results)])
    done = here("report", searched.results, "--output", tmp_path / "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "report.html").read_text()
    found = masks.ious(masks.segmentations(stage))
    for name, values in zip((*CLASSES, "mean"), [*found.T, found.mean(axis=1)], strict=True):
        assert f">{name}<" in page
        assert f">{values.mean():.1f}<" in page
    assert "Test images of the best, median and worst mean IoU" in page
    done = here("report", searched.results, "--figure", "masks", "--output", tmp_path / "masks.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert min(Image.open(tmp_path / "masks.png").size) > 200
    refused = here("report", searched.results, "--figure", "confusion")
    assert refused.returncode == 2
    assert "its images have masks" in refused.stderr


@pytest.mark.parametrize("num_classes", [2, 11, 30])
def test_the_legend_lies_within_the_picture(
    searched: Finished, num_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    [stage] = read_stages([str(searched.results)])
    names = tuple(f"a class of number {number}" for number in range(num_classes))
    few = np.minimum(stage.masks(stage.selected[0]).predicted, num_classes - 1)
    kept = replace(stage.masks(stage.selected[0]), class_names=names, predicted=few, truths=few)
    monkeypatch.setattr(Searched, "masks", lambda *_: kept)
    figure = masks.draw([""], [stage], "")
    figure.draw_without_rendering()
    [legend] = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    assert whole.y0 <= box.y0
    assert box.y1 < figure.axes[-1].get_window_extent().y0
    assert len(legend.get_texts()) == min(num_classes, masks.MOST_NAMED)


def test_ignored_pixels_are_black_and_classes_differ_in_colour() -> None:
    mask = np.array([[0, 1, 2, 255]], np.uint8)
    shown = masks.coloured(mask, 3)
    assert shown[0, 3].tolist() == [0, 0, 0]
    assert len({tuple(colour) for colour in masks.colours(21).round(3).tolist()}) == 21


def test_a_model_segments_images_of_any_size(searched: Finished) -> None:
    model = raysl.load_model(str(searched.results), seed=0)
    assert model.class_names == CLASSES
    assert not model.classifies
    image, mask = scene(100)
    with torch.no_grad():
        logits = model.segment(model.preprocess([image]))
    assert logits.shape == (1, 3, 32, 32)
    height, width = mask.shape
    assert max(height, width) == 32
    counted = mask != 255
    found = logits[0].argmax(0).numpy()[:height, :width]
    assert (found == mask)[counted].mean() > 0.8
    with pytest.raises(raysl.UserError, match="classify: method segmentation learns no classes"):
        model.classify(model.preprocess([image]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "stages.segmentation.method={name: supervised}",
            "supervised learns no masks; methods that do: ",
        ),
        (
            "stages.segmentation.probe=linear_svm",
            "segmentation learns masks, which only 'segmentation' ",
        ),
        ("model.features=16", "model.features: 16: segmentation works on feature maps"),
        ("model.backbone=resnet50v2", "resnet50v2 does not give; choices: small_resnet"),
        ("data.source=digits", "segmentation learns masks, and the images of digits have classes"),
        ("stages.segmentation.select=probe_accuracy", "probe_accuracy is not measured here; choices: probe_mean_iou"),
        ("data.attack={name: one_pixel}", "'segmentation' augments labelled images"),
    ],
)
def test_what_does_not_fit_masks_is_refused(searched: Finished, change: str, said: str) -> None:
    done = here("tune", searched.file, "--dry-run", "--set", change, "--set", "data.labels=20")
    assert done.returncode == 2, done.stdout
    assert said in done.stderr


def test_a_method_of_classes_is_refused_on_masks(searched: Finished) -> None:
    changes = ("stages.segmentation.method={name: supervised}", "stages.segmentation.probe=classifier")
    done = here("tune", searched.file, "--dry-run", *(part for change in changes for part in ("--set", change)))
    assert done.returncode == 2, done.stdout
    assert "supervised learns classes, and the images of " in done.stderr
    assert "methods that learn masks: " in done.stderr


def test_images_are_drawn_with_their_masks_before_anything_is_trained(searched: Finished, tmp_path: Path) -> None:
    done = here("show", searched.file, "--images", "--output", tmp_path / "images.png")
    assert done.returncode == 0, done.stdout + done.stderr
    colours = {tuple(one) for one in np.asarray(Image.open(tmp_path / "images.png").convert("RGB")).reshape(-1, 3)}
    wanted = (255 * masks.colours(len(CLASSES))).astype(np.uint8)
    assert {tuple(one) for one in wanted} <= colours
    refused = here("show", searched.file, "--images", "--attack")
    assert refused.returncode == 2
    assert "--images" in refused.stderr
