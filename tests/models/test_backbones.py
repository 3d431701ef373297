"""Backbones take images of every size and channel count and pool to their width."""

import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raysl.models.backbones import TIMM_NAMES, build_backbone
from raysl.models.settings import SMALLEST_IMAGE, ModelSettings

BACKBONES = get_args(ModelSettings.model_fields["backbone"].annotation)


def settings(backbone: Any, stem: Any = "imagenet") -> ModelSettings:
    return ModelSettings(backbone=backbone, stem=stem)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("backbone", "stem", "width"),
    [
        ("small_resnet", "imagenet", 64),
        ("resnet18", "imagenet", 512),
        ("resnet18", "stl10", 512),
        ("resnet18", "cifar", 512),
    ],
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


@pytest.mark.parametrize(
    ("stem", "size", "edges"),
    [
        # What ResNet-18 sees before its four stages and after each of them; the last one is pooled.
        ("imagenet", 224, [56, 56, 28, 14, 7]),
        ("imagenet", 32, [8, 8, 4, 2, 1]),
        ("stl10", 96, [48, 48, 24, 12, 6]),
        ("stl10", 64, [32, 32, 16, 8, 4]),
        ("cifar", 32, [32, 32, 16, 8, 4]),
        ("cifar", 28, [28, 28, 14, 7, 4]),
    ],
)
def test_stems_leave_maps_of_these_sizes(stem: str, size: int, edges: list[int]) -> None:
    network, _ = build_backbone(settings("resnet18", stem), 3)
    assert isinstance(network.get_submodule("conv1"), nn.Conv2d)
    assert network.get_submodule("conv1").kernel_size == ((7, 7) if stem == "imagenet" else (3, 3))
    found: list[int] = []
    for name in ("maxpool", "layer1", "layer2", "layer3", "layer4"):
        network.get_submodule(name).register_forward_hook(lambda _, inputs, output: found.append(output.shape[-1]))
    with torch.no_grad():
        network(torch.randn(2, 3, size, size))
    assert found == edges


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("backbone", "width"),
    [("mobilenet_v2", 1280), ("inception_v3", 2048), ("resnet50v2", 2048), ("efficientnet_lite0", 1280)],
)
def test_timm_networks_give_the_mean_of_their_last_map(backbone: str, width: int, channels: int) -> None:
    network, stated = build_backbone(settings(backbone), channels)
    edge = SMALLEST_IMAGE.get(backbone, 33)
    images = torch.randn(2, channels, edge, edge + 32)
    with torch.no_grad():
        maps: Tensor = network.eval().forward_features(images)  # type: ignore[operator]
        assert maps.shape[:2] == (2, width) == (2, stated)
        assert maps[0, 0].numel() > 1
        torch.testing.assert_close(network(images), maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_smallest_image_is_the_smallest(backbone: str) -> None:
    network = build_backbone(settings(backbone), 1)[0]
    smallest = SMALLEST_IMAGE.get(backbone, 4)  # no data have smaller ones
    assert network(torch.randn(2, 1, smallest, smallest)).isfinite().all()
    if backbone in SMALLEST_IMAGE:
        with pytest.raises(RuntimeError, match="size"):
            network(torch.randn(2, 1, smallest - 1, smallest - 1))


@pytest.mark.parametrize("backbone", TIMM_NAMES)
def test_every_parameter_of_a_timm_network_is_trained(backbone: str) -> None:
    """An auxiliary head, or a classifier, would be left without a gradient, which DDP does not forgive."""
    network = build_backbone(settings(backbone), 1)[0]
    edge = SMALLEST_IMAGE.get(backbone, 24)
    network(torch.randn(2, 1, edge, edge)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("backbone", TIMM_NAMES)
def test_timm_networks_are_random_and_drop_nothing(backbone: str) -> None:
    def output(seed: int, later: int) -> Tensor:
        torch.manual_seed(seed)
        network = build_backbone(settings(backbone), 1)[0]
        edge = SMALLEST_IMAGE.get(backbone, 24)
        images = torch.linspace(-1, 1, 2 * edge**2).reshape(2, 1, edge, edge) ** 2
        torch.manual_seed(later)
        pooled: Tensor = network(images)
        return pooled

    assert torch.equal(output(0, 1), output(0, 2))  # in train mode
    assert not torch.equal(output(0, 1), output(3, 1))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_norm_settings_reach_every_batch_norm(backbone: str) -> None:
    def norms(**given: float) -> list[tuple[float | None, float]]:
        network = build_backbone(ModelSettings.model_validate({"backbone": backbone, **given}), 1)[0]
        return [(part.momentum, part.eps) for part in network.modules() if isinstance(part, _BatchNorm)]

    own = norms()
    assert len(own) >= 7
    assert set(norms(norm_momentum=0.001, norm_eps=1e-2)) == {(0.001, 1e-2)}
    assert norms(norm_momentum=0.001) == [(0.001, eps) for _, eps in own]
    assert norms(norm_eps=1e-2) == [(momentum, 1e-2) for momentum, _ in own]


@pytest.mark.slow
def test_other_backbones_do_not_wait_for_timm() -> None:
    code = (
        "import sys, torch; from raysl.models.backbones import build_backbone; from raysl.models.batch_norm import *; "
        "from raysl.models.settings import ModelSettings; "
        "sync_batch_norm(build_backbone(ModelSettings(), 1)[0]); print('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
