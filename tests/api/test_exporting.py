"""Exported models load in other programs, and compute the same there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors
import torch
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file
from tiny import Finished, here

import raysl
from raysl.data.storage.decoded_cache import load_test

pytestmark = pytest.mark.slow

RESNET = """\
name: exported
data: {source: digits, labels: 40, unlabelled: 64}
model: {backbone: resnet18, stem: cifar, features: null}
seeds: 1
stages:
  supervised:
    method: {name: supervised}
    epochs: 1
    batch_size: 20
    optimizer: {name: sgd, lr: 0.01}
    select: train_loss
"""


@pytest.fixture
def resnet(finished: Callable[..., Finished]) -> Path:
    return finished(RESNET).results


@pytest.fixture
def small(finished: Callable[..., Finished]) -> Path:
    return finished().results


def seen(model: Any) -> torch.Tensor:
    images, _ = load_test(model.spec.data)
    preprocessed: torch.Tensor = model.preprocess(images[:20])
    return preprocessed


@pytest.mark.parametrize("form", ["torchvision", "timm"])
def test_a_library_loads_it_by_the_lines_that_are_printed(resnet: Path, form: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    done = here("export", resnet, "--format", form, "--output", file)
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout.partition("\n")[0]
    names: dict[str, Any] = {}
    exec("\n".join(line.strip() for line in done.stdout.partition("to load it:\n")[2].splitlines()), names)
    model = raysl.load_model(resnet)
    images = seen(model)
    with torch.no_grad():
        torch.testing.assert_close(names["model"](images), model.classify(images), rtol=1e-5, atol=1e-5)


def test_an_export_says_what_it_needs(resnet: Path, tmp_path: Path) -> None:
    model = raysl.load_model(resnet)
    found = raysl.export_model(resnet, "timm", output=tmp_path / "x.safetensors")
    assert (found.missing, found.left_out, found.image_size, found.channels) == ((), (), 8, 1)
    images, _ = load_test(model.spec.data)
    pixels = torch.from_numpy(np.array(images[:20])).permute(0, 3, 1, 2) / 255
    by_hand = (pixels - torch.tensor(found.mean).view(1, -1, 1, 1)) / torch.tensor(found.std).view(1, -1, 1, 1)
    torch.testing.assert_close(by_hand, seen(model))
    with safetensors.safe_open(str(found.path), "pt") as file:
        facts = file.metadata()
    assert json.loads(facts["mean"]) == list(found.mean)
    assert json.loads(facts["class_names"]) == list(map(str, range(10)))
    assert (facts["backbone"], facts["trial_id"]) == ("resnet18", model.trial_id)


def test_the_own_form_has_encoder_and_classifier(small: Path, tmp_path: Path) -> None:
    done = here("export", small, "--stage", "semi", "--seed", 1, "--output", tmp_path / "x.safetensors")
    assert done.returncode == 0, done.stderr
    model = raysl.load_model(small, "semi", seed=1)
    weights = load_file(str(tmp_path / "x.safetensors"))
    classifier = {key: weights.pop(key) for key in list(weights) if key.startswith("classifier.")}
    torch.testing.assert_close(weights, dict(model.encoder.state_dict()), rtol=0, atol=0)
    assert classifier["classifier.weight"].shape == (10, 16)


def test_a_graph_computes_features_and_logits_of_any_number_of_images(small: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.onnx"
    done = here("export", small, "--stage", "semi", "--format", "onnx", "--output", file)
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(str(file))
    model = raysl.load_model(small, "semi")
    for number in (1, 20):
        images = seen(model)[:number]
        features, logits = ReferenceEvaluator(str(file)).run(None, {"images": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(features, model(images).numpy(), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(logits, model.classify(images).numpy(), rtol=1e-5, atol=1e-5)
    assert {one.key: one.value for one in onnx.load(str(file)).metadata_props}["trial_id"] == model.trial_id


def test_what_has_no_place_is_said(finished: Callable[..., Finished], tmp_path: Path) -> None:
    results = finished(RESNET.replace("features: null", "features: 16")).results
    done = here("export", results, "--format", "torchvision", "--output", tmp_path / "x.safetensors")
    assert done.returncode == 0, done.stderr
    assert "no place for it: the feature head, 16 wide, the classifier" in done.stdout
    assert "(fc.weight, fc.bias)" in done.stdout


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "no such form": (("--format", "onx"), "--format onx: did you mean 'onnx'? choices: onnx, safetensors"),
    "no such network": (("--format", "timm"), "timm has no small_resnet; choices for it: safetensors, onnx"),
    "no such stage": (("--stage", "smi"), "stage smi: did you mean 'semi'?"),
    "no such config": (("--config", "lr=0.5"), "config lr=0.5: no config has it"),
    "no such seed": (("--seed", "7"), "seed 7: choices: 0, 1"),
    "no such milestone": (("--epoch", "3"), "milestones of this trial: none"),
    "a name of another form": (("--output", "x.onnx"), "ends in .safetensors"),
    "no such folder": (("--output", "/nowhere/x.safetensors"), "No such file or directory"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mistake_is_one_message(kind: str, small: Path) -> None:
    arguments, expected = REFUSED[kind]
    done = here("export", small, "--stage", "semi", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert expected in done.stderr
    assert done.stdout == ""
