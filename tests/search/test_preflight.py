"""What an experiment and its data must agree on."""

import re
from pathlib import Path

import pytest
from tiny import EXPERIMENT, of_stages, write

from raysl.config import load
from raysl.data.settings import TrialData
from raysl.errors import UserError
from raysl.search.preflight import cautions, check

DATA = TrialData(source="digits", image_size=28, channels=1, digest="d" * 32, num_classes=10, labels=40, unlabelled=128)


def with_backbone(folder: Path, backbone: str) -> Path:
    return write(folder, EXPERIMENT.replace("small_resnet", backbone))


def test_images_below_the_smallest_of_a_backbone_are_refused_with_the_place(tmp_path: Path) -> None:
    experiment = load(with_backbone(tmp_path, "inception_v3"))
    with pytest.raises(UserError, match=r"tiny\.yaml:3: model\.backbone: inception_v3 .*75.* 28 x 28; .*image_size"):
        check(experiment, of_stages(experiment, DATA))
    with pytest.raises(UserError, match="74 x 74"):
        check(experiment, of_stages(experiment, DATA.model_copy(update={"image_size": 74})))
    check(experiment, of_stages(experiment, DATA.model_copy(update={"image_size": 75})))


def test_the_place_is_where_the_backbone_was_given_last(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=["model.backbone=inception_v3"])
    with pytest.raises(UserError, match=re.escape("--set model.backbone=inception_v3: model.backbone: ")):
        check(experiment, of_stages(experiment, DATA))


@pytest.mark.parametrize("backbone", ["small_resnet", "mobilenet_v2", "resnet50v2", "efficientnet_lite0"])
def test_other_backbones_take_small_images(tmp_path: Path, backbone: str) -> None:
    experiment = load(with_backbone(tmp_path, backbone))
    check(experiment, of_stages(experiment, DATA.model_copy(update={"image_size": 4})))


def test_the_config_that_cannot_be_trained_need_not_be_the_first(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=["stages.semi.batch_size={grid: [32, 2]}"])
    with pytest.raises(UserError, match="3 images in batches of at most 2 leave one of a single"):
        check(experiment, of_stages(experiment, DATA.model_copy(update={"unlabelled": 3, "labels": 3})))


def test_no_batch_has_a_single_labelled_image(tmp_path: Path) -> None:
    def data(unlabelled: int) -> dict[str, TrialData]:
        return of_stages(experiment, DATA.model_copy(update={"unlabelled": unlabelled}))

    experiment = load(write(tmp_path), overrides=["stages.semi.batch_size=2", "stages.semi.unlabelled_ratio=7"])
    check(experiment, data(16))  # 8 unlabelled images beside 2
    with pytest.raises(UserError, match="15 images in batches of at most 14 leave one of a single labelled image; 3"):
        check(experiment, data(15))
    experiment = load(write(tmp_path), overrides=["stages.semi.batch_size=3", "stages.semi.unlabelled_ratio=7"])
    check(experiment, data(15))
    full = ["stages.semi.batch_size=2", "stages.semi.unlabelled_ratio=7", "stages.semi.steps_per_epoch=4"]
    experiment = load(write(tmp_path), overrides=full)
    check(experiment, data(15))


def test_probe_accuracy_among_objectives_needs_labels_too(tmp_path: Path) -> None:
    search = "stages.semi.search={objectives: [probe_accuracy, seconds]}"
    experiment = load(write(tmp_path), overrides=[search])
    with pytest.raises(UserError, match="cross-validated on the labelled training images, and 10 labels"):
        check(experiment, of_stages(experiment, DATA.model_copy(update={"labels": 10})))


def test_a_later_stage_s_images_have_the_channels_of_its_encoder(tmp_path: Path) -> None:
    experiment = load(write(tmp_path))
    datas = of_stages(experiment, DATA) | {"finetune": DATA.model_copy(update={"channels": 3})}
    with pytest.raises(
        UserError, match=r"images with 3 channel\(s\), and the encoder of semi takes 1; data\.channels: 1"
    ):
        check(experiment, datas)


ROTATION = "stages.semi.method={name: rotation}"
BY_PROBE = "stages.semi.select=probe_accuracy"
LATER = ["stages.finetune.select=probe_accuracy", "stages.finetune.optimizer.lr={grid: [0.1, 0.01]}"]


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        ([], []),
        ([BY_PROBE], ["stages.semi.select: .* on which semi trained"]),
        (["stages.semi.search={objectives: [probe_accuracy, seconds]}"], [r"search\.objectives: .*semi trained"]),
        ([BY_PROBE, ROTATION], []),
        ([BY_PROBE, "stages.semi.optimizer.lr=0.1"], []),  # one config
        (LATER, ["stages.finetune.select: .* on which semi and finetune trained"]),
        ([*LATER, BY_PROBE, ROTATION], ["stages.finetune.select: .* on which finetune trained"]),
        ([*LATER, "stages.finetune.method={name: simclr}"], ["stages.finetune.select: .* on which semi trained"]),
    ],
)
def test_a_probe_of_labels_that_were_trained_on_is_said(
    tmp_path: Path, overrides: list[str], trained: list[str]
) -> None:
    experiment = load(write(tmp_path), overrides=overrides)
    found = cautions(experiment, of_stages(experiment, DATA))
    assert len(found) == len(trained)
    for text, pattern in zip(found, trained, strict=True):
        assert re.search(pattern, text), text


def test_labels_of_other_images_say_something(tmp_path: Path) -> None:
    experiment = load(write(tmp_path), overrides=[*LATER, "stages.finetune.method={name: simclr}"])
    other = {"finetune": DATA.model_copy(update={"digest": "e" * 32})}
    assert cautions(experiment, of_stages(experiment, DATA) | other) == []
