"""Feature maps with dilation are those of torchvision's and timm's own options."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raysl.models.backbones import TIMM_NAMES, build_backbone
from raysl.models.deeplab import build_head, rates_of
from raysl.models.dense import feature_maps, set_output_stride
from raysl.models.encoder import build_encoder
from raysl.models.settings import DENSE, ModelSettings

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def backbone_of(name: Any, output_stride: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    backbone, _ = build_backbone(ModelSettings(backbone=name), 3)
    if output_stride is not None:
        set_output_stride(backbone, output_stride)
    return backbone.eval()


def library_maps(name: str, state: dict[str, Tensor], output_stride: int) -> Tensor:
    if name == "resnet50":
        from torchvision.models import resnet50

        network = resnet50(replace_stride_with_dilation=[False, output_stride <= 8, output_stride <= 16])
        network.fc = network.avgpool = nn.Identity()
        network.load_state_dict(state)
        edges = (IMAGES.shape[2] // output_stride, IMAGES.shape[3] // output_stride)
        maps: Tensor = network.eval()(IMAGES).view(2, 2048, *edges)
        return maps
    import timm

    network = timm.create_model(TIMM_NAMES[name], num_classes=0, output_stride=output_stride)
    network.load_state_dict(state)
    return network.eval().forward_features(IMAGES)  # type: ignore[no-any-return]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0", "mobilenet_v2"])
def test_dilation_is_that_of_the_library(name: str, output_stride: int) -> None:
    backbone = backbone_of(name, output_stride)
    with torch.no_grad():
        expected = library_maps(name, backbone.state_dict(), output_stride)
        torch.testing.assert_close(feature_maps(backbone, IMAGES), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", DENSE)
def test_the_mean_of_the_maps_is_the_pooled_output(name: str) -> None:
    backbone = backbone_of(name)
    with torch.no_grad():
        maps = feature_maps(backbone, IMAGES)
        torch.testing.assert_close(maps.mean((2, 3)), backbone(IMAGES))


@pytest.mark.parametrize(("name", "least"), [("small_resnet", 4), ("resnet18", 4), ("efficientnet_lite0", 4)])
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_maps_have_the_output_stride(name: str, least: int, output_stride: int) -> None:
    with torch.no_grad():
        maps = feature_maps(backbone_of(name, output_stride), IMAGES)
    stride = 4 if name == "small_resnet" else max(least, output_stride)
    assert maps.shape[2:] == (64 // stride, 96 // stride)


def test_frozen_norms_keep_their_statistics_and_their_weights_are_trained() -> None:
    encoder = build_encoder(ModelSettings(features=None), 3, 64)
    encoder.norms_frozen = True
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.train()
    encoder.maps(IMAGES).square().sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_rates_follow_the_output_stride() -> None:
    assert rates_of("deeplabv3", 16) == [6, 12, 18]
    assert rates_of("deeplabv3", 8) == [12, 24, 36]
    assert rates_of("deeplabv2", 8) == [6, 12, 18, 24]
    assert rates_of("deeplabv2", 16) == [3, 6, 9, 12]
    assert rates_of("deeplabv3", 32) == [3, 6, 9]


def test_deeplabv3_is_torchvisions() -> None:
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead

    torch.manual_seed(0)
    head = build_head("deeplabv3", 64, 5, width=256, dropout=0.5, output_stride=8).eval()
    other = DeepLabHead(64, 5, atrous_rates=(12, 24, 36)).eval()
    other.load_state_dict(dict(zip(other.state_dict(), head.state_dict().values(), strict=True)))
    maps = torch.rand(2, 64, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(head(maps), other(maps), rtol=0, atol=0)


def test_deeplabv2_is_a_sum_of_dilated_convolutions() -> None:
    head = build_head("deeplabv2", 3, 2, width=1, dropout=0.0, output_stride=8)
    maps = torch.rand(1, 3, 60, 60)
    branches = list(head.branches)  # type: ignore[arg-type]
    expected = sum(
        nn.functional.conv2d(maps, one.weight, one.bias, padding=rate, dilation=rate)
        for one, rate in zip(branches, (6, 12, 18, 24), strict=True)
    )
    torch.testing.assert_close(head(maps), expected)
