"""The learners of target pre-training as they are shipped: the values of Xu et al. 2022 and of the learners' authors.

A second transcription, because a wrong learning rate runs as well as a right one.
"""

from pathlib import Path
from typing import Any

import pytest

from raysl.config import load
from raysl.search.experiment import Stage
from raysl.search.stage_settings import StageSettings

SPACES = Path(__file__).parents[2] / "search_spaces"
CLASSES, MASKS = "target_pretraining", "target_pretraining_segmentation"
SETS = ("cifar10", "cifar100", "svhn")

# (learning rate of the backbone, that of new layers, weight decay, ratio of unlabelled to labelled images)
LEARNERS = {
    "supervised": (0.1, 0.1, None, None),
    "mean_teacher": (0.1, 0.1, None, 7),
    "vat": (0.1, 0.1, None, 7),
    "fixmatch": (0.1, 0.1, None, 7),
    "uda": (0.1, 0.1, None, 7),
    "self_tuning": (0.01, 0.1, 1e-4, 1),  # thuml/Self-Tuning: a tenth for the backbone, batches of one size
}
# (optimizer, learning rate of the backbone, that of the head, schedule, are batch norms frozen, weight decay)
# Xu et al. print CutMix's 1e-5 for both sets.
SEGMENTERS = {
    "segmentation": ("adam", 1e-6, 1e-5, "constant", True, 0.0),  # Britefury/cutmix-semisup-seg, --learning_rate=1e-5
    "cutmix": ("adam", 1e-6, 1e-5, "constant", True, 0.0),
    "classmix": ("sgd", 2.5e-4, 2.5e-3, "poly", False, 5e-4),  # WilhelmT/ClassMix
    "clmb": ("sgd", 2e-4, 2e-4, "poly", False, 5e-4),  # Shathe/SemiSeg-Contrastive, one rate for all layers
}
ISIC = ("sgd", 0.01, 0.1, "poly", False, 5e-4)  # CutMix's script for ISIC 2017
AVERAGES = {"cutmix": 0.99, "classmix": 0.99, "clmb": 0.996}
BATCHES = {"voc2012": 20, "cityscapes": 8}


def stages_of(name: str, profile: str) -> dict[str, Stage]:
    return {stage.name: stage for stage in load(SPACES / f"{name}.yaml", profile).stages}


def settings_of(stage: Stage) -> StageSettings:
    return stage.configs[0].settings


def rates(settings: StageSettings, factor: str) -> tuple[Any, ...]:
    """Return the optimizer's name, its rate of the backbone and of new layers, and its weight decay."""
    optimizer = settings.optimizer
    assert optimizer is not None
    lr = optimizer.lr
    return optimizer.name, lr, pytest.approx(lr * settings.method.get(factor, 1.0)), optimizer.weight_decay


@pytest.mark.parametrize("profile", SETS)
def test_learners_have_the_papers_values(profile: str) -> None:
    stages = stages_of(CLASSES, profile)
    decay = 1e-3 if profile == "cifar100" else 5e-4  # FixMatch's
    for name, (lr, new, own_decay, ratio) in LEARNERS.items():
        settings = settings_of(stages[name])
        assert rates(settings, "new_layers_lr") == ("sgd", lr, new, own_decay or decay), name
        assert (settings.batch_size, settings.steps_per_epoch, settings.epochs) == (64, 1024, 200), name
        if ratio is not None:
            assert settings.unlabelled_ratio == ratio, name
    vat = settings_of(stages["vat"]).method
    assert (vat["eps"], vat["ramp"]) == (7 if profile == "svhn" else 42, 0.4)  # Oliver et al., times 224 / 32


@pytest.mark.parametrize("profile", SETS)
def test_target_pre_training_has_the_papers_values(profile: str) -> None:
    stages = stages_of(CLASSES, profile)
    byol, moco = (settings_of(stages[name]) for name in ("byol", "moco"))
    assert (byol.epochs, byol.batch_size, moco.epochs, moco.batch_size) == (300, 256, 300, 256)
    assert rates(byol, "none") == ("lars", 0.3, 0.3, 1.5e-6)
    assert rates(moco, "none") == ("sgd", 0.003, 0.003, 1e-4)  # a tenth of the authors' rate, as the paper has it
    assert byol.method["l2_start"] == moco.method["l2_start"] == 0.01
    assert byol.method["momentum"] == 0.99  # deepmind-research/byol, for 300 epochs
    widths = {"hidden": 512, "projector": 128, "queue": 4096, "norm_groups": 8}
    assert moco.method.items() >= {**widths, "temperature": 0.2, "momentum": 0.999, "min_crop": 0.2}.items()


@pytest.mark.parametrize("profile", ["voc2012", "cityscapes"])
def test_learners_of_masks_have_the_values_of_their_authors(profile: str) -> None:
    stages = stages_of(MASKS, profile)
    for name, (optimizer, lr, head, schedule, frozen, decay) in SEGMENTERS.items():
        settings = settings_of(stages[name])
        assert rates(settings, "head_lr") == (optimizer, lr, head, decay), name
        assert (settings.schedule.name, settings.method["freeze_norm"]) == (schedule, frozen), name
        assert (settings.epochs, settings.steps_per_epoch) == (40, 1000), name
        assert settings.batch_size == BATCHES[profile], name
        assert settings.method.get("momentum") == AVERAGES.get(name), name
        assert settings.method["crop"] == (321 if profile == "voc2012" else 256), name
    clmb = settings_of(stages["clmb"]).method
    assert clmb.items() >= {"memory": 2048, "memory_tau": 0.95, "projector": 256, "ramp": 0.05}.items()
    cutmix = settings_of(stages["cutmix"]).method
    assert (cutmix["min_scale"], cutmix["max_scale"]) == ((0.5, 1.5) if profile == "voc2012" else (1.0, 1.0))


def test_isic_has_the_values_of_cutmix() -> None:
    stages = stages_of(MASKS, "isic2017")
    for name in ("segmentation", "cutmix"):
        settings = settings_of(stages[name])
        optimizer, lr, head, decay = rates(settings, "head_lr")
        found = (optimizer, lr, head, settings.schedule.name, settings.method["freeze_norm"], decay)
        assert found == ISIC, name
        assert (settings.epochs, settings.steps_per_epoch, settings.batch_size) == (100, 400, 10), name
        assert (settings.method["crop"], settings.method["min_scale"], settings.method["max_scale"]) == (224, 0.9, 1.1)
    byol = settings_of(stages["byol"])
    assert (byol.epochs, byol.method["momentum"]) == (1000, 0.996)  # deepmind-research/byol, for 1000 epochs


@pytest.mark.parametrize("profile", [*SETS, "voc2012"])
def test_a_method_is_the_same_in_its_own_file(profile: str) -> None:
    """But for the start, the crop of images that PixPro has seen smaller, and a learning rate that is searched."""
    whole = stages_of(MASKS if profile == "voc2012" else CLASSES, profile)
    names = SEGMENTERS if profile == "voc2012" else [name for name in LEARNERS if name != "supervised"]
    for file in (*names, *(["pixpro"] if profile == "voc2012" else [])):
        for name, stage in stages_of(file, profile).items():
            ours, theirs = (settings_of(one).model_dump(exclude={"start_from"}) for one in (stage, whole[name]))
            if file == "pixpro" and name == "segmentation":
                ours["method"]["crop"] = theirs["method"]["crop"]
            if "optimizer.lr" in stage.space:
                assert theirs["optimizer"]["lr"] in stage.space["optimizer.lr"].values
                ours["optimizer"]["lr"] = theirs["optimizer"]["lr"]
            assert ours == theirs, f"{file}.yaml: {name}"


@pytest.mark.parametrize(
    ("name", "average"), [("freematch", "threshold_momentum"), ("softmatch", "confidence_momentum")]
)
def test_averages_are_as_fast_as_the_weights(name: str, average: str) -> None:
    """One of 0.99 hardly leaves its start in the 100 steps of `laptop`."""
    for profile in (None, *SETS, "laptop"):
        method = settings_of(load(SPACES / f"{name}.yaml", profile).stages[0]).method
        assert method[average] == method["momentum"], profile
