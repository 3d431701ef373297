"""Backbones take images of every size and channel count and pool to their width."""

from typing import Any

import pytest
import torch
from torch import nn

from raysl.models.backbones import build_backbone
from raysl.models.settings import ModelSettings


def settings(backbone: Any, stem: Any = "imagenet") -> ModelSettings:
    return ModelSettings(backbone=backbone, stem=stem)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("backbone", "stem", "width"),
    [("small_resnet", "imagenet", 64), ("resnet18", "imagenet", 512), ("resnet18", "cifar", 512)],
)
def test_every_image_size_is_pooled_to_the_width(backbone: str, stem: str, width: int, channels: int) -> None:
    network, stated = build_backbone(settings(backbone, stem), channels)
    assert stated == width
    network.eval()
    with torch.no_grad():
        for size in (8, 11, 28, 33, 128):
            assert network(torch.randn(2, channels, size, size)).shape == (2, width)


def test_resnet50_is_pooled_to_2048() -> None:
    network, width = build_backbone(settings("resnet50"), 1)
    with torch.no_grad():
        assert width == 2048
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 2048)


def test_cifar_stem_keeps_the_resolution() -> None:
    sizes: dict[str, torch.Size] = {}
    for stem in ("imagenet", "cifar"):
        network, _ = build_backbone(settings("resnet18", stem), 3)
        network.get_submodule("layer1").register_forward_hook(
            lambda module, inputs, output, stem=stem: sizes.update({stem: output.shape[2:]})
        )
        network(torch.randn(2, 3, 32, 32))
    assert sizes == {"imagenet": (8, 8), "cifar": (32, 32)}


@pytest.mark.parametrize(
    ("backbone", "name"), [("small_resnet", "blocks.0.conv2"), ("resnet18", "conv1"), ("resnet50", "conv1")]
)
def test_convolutions_are_initialised_by_fan_out(backbone: str, name: str) -> None:
    torch.manual_seed(0)
    layer = build_backbone(settings(backbone), 3)[0].get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    expected = (2 / (layer.out_channels * layer.kernel_size[0] ** 2)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)


def test_pooling_is_a_mean_over_the_map() -> None:
    network = build_backbone(settings("small_resnet"), 1)[0].eval()
    maps: list[torch.Tensor] = []
    network.get_submodule("blocks").register_forward_hook(lambda module, inputs, output: maps.append(output))
    pooled = network(torch.randn(3, 1, 28, 28))
    assert maps[0].shape == (3, 64, 7, 7)
    torch.testing.assert_close(pooled, maps[0].flatten(2).mean(2))
