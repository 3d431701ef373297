"""A backbone in another library's form loads there by the lines that are given, and computes the same."""

from typing import Any

import pytest
import torch
from torch import nn

from raysl.errors import UserError
from raysl.models import library_forms
from raysl.models.backbones import build_backbone
from raysl.models.library_forms import NAMES, in_library
from raysl.models.settings import ModelSettings

pytestmark = pytest.mark.slow

SIZES = {"inception_v3": 75}
STEMS = [
    (library, backbone, stem, channels)
    for library in NAMES
    for backbone in NAMES[library]
    for stem in (("imagenet", "stl10", "cifar") if backbone == "resnet18" else ("imagenet",))
    for channels in ((1, 3) if backbone == "resnet18" else (1,))
]


def trained(settings: ModelSettings, channels: int) -> tuple[nn.Module, int]:
    """Return a backbone whose weights and statistics differ from those of a new one."""
    torch.manual_seed(0)
    backbone, width = build_backbone(settings, channels)
    with torch.no_grad():
        for part in backbone.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.2, 0.2)
                part.running_mean.uniform_(-0.2, 0.2)
                part.running_var.uniform_(0.5, 1.5)
    return backbone.eval(), width


def built(lines: tuple[str, ...], weights: dict[str, Any]) -> nn.Module:
    """Run the lines as a user would, and return the network that they make."""
    names: dict[str, Any] = {"weights": weights}
    exec("\n".join(lines), names)
    model = names["model"]
    assert isinstance(model, nn.Module)
    assert not model.training
    return model


@pytest.mark.parametrize(("library", "backbone", "stem", "channels"), STEMS)
def test_its_features_are_the_same_there(library: Any, backbone: Any, stem: Any, channels: int) -> None:
    settings = ModelSettings(backbone=backbone, stem=stem, features=None, norm_eps=0.01 if stem == "cifar" else None)
    network, width = trained(settings, channels)
    size = SIZES.get(backbone, 32)
    form = in_library(library, settings, network, (channels, size, size))
    assert len(form.missing) == 2
    images = torch.randn(3, channels, size, size)
    with torch.no_grad():
        expected, found = network(images), built(form.lines, form.state)(images)
    assert found.shape == (3, width)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("library", "backbone"), [(library, name) for library in NAMES for name in NAMES[library]])
def test_a_classifier_becomes_the_librarys_own(library: Any, backbone: Any) -> None:
    settings = ModelSettings(backbone=backbone, features=None)
    network, width = trained(settings, 3)
    size = SIZES.get(backbone, 32)
    classifier = nn.Linear(width, 7)
    form = in_library(library, settings, network, (3, size, size), classifier)
    assert form.missing == ()
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        expected, found = classifier(network(images)), built(form.lines, form.state)(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_what_a_library_lacks_is_refused() -> None:
    for library, backbone in (("torchvision", "small_resnet"), ("torchvision", "resnet50v2"), ("timm", "small_resnet")):
        settings = ModelSettings(backbone=backbone)
        network, _ = build_backbone(settings, 1)
        with pytest.raises(UserError, match=f"{library} has no {backbone}, but "):
            in_library(library, settings, network, (1, 8, 8))


def test_a_library_that_computes_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its version has another network of the same names."""
    settings = ModelSettings(backbone="resnet18", features=None, norm_eps=0.1)
    network, _ = trained(settings, 3)
    monkeypatch.setattr(library_forms, "_adapt", lambda *_: [])
    with pytest.raises(UserError, match="computes other features"):
        in_library("torchvision", settings, network, (3, 32, 32))
