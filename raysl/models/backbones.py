"""Convolutional backbones that end in global average pooling: images [B, C, H, W] -> [B, width]."""

from typing import Literal

import torch
from torch import Tensor, nn

from raysl.models.settings import ModelSettings, Stem

SMALL_WIDTHS = (16, 32, 64)
TIMM_NAMES = {
    "mobilenet_v2": "mobilenetv2_100",
    "inception_v3": "inception_v3",
    "resnet50v2": "resnetv2_50",
    "efficientnet_lite0": "tf_efficientnet_lite0",
}


def build_backbone(settings: ModelSettings, channels: int) -> tuple[nn.Module, int]:
    """Return a backbone with random weights and its width; it takes square images of at least `SMALLEST_IMAGE`.

    channels: of the images.
    """
    backbone, width = _build(settings, channels)
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = part.momentum if settings.norm_momentum is None else settings.norm_momentum
            part.eps = part.eps if settings.norm_eps is None else settings.norm_eps
    return backbone, width


def _build(settings: ModelSettings, channels: int) -> tuple[nn.Module, int]:
    match settings.backbone:
        case "small_resnet":
            return SmallResNet(channels), SMALL_WIDTHS[-1]
        case "resnet18" | "resnet50" as name:
            return _torchvision_resnet(name, settings.stem, channels)
        case name:
            return _timm_network(TIMM_NAMES[name], channels)


def _timm_network(name: str, channels: int) -> tuple[nn.Module, int]:
    """Return one of timm's networks without a classifier, auxiliary ones included, and without dropout."""
    import timm  # takes two seconds to import: trials of other backbones do not wait

    network = timm.create_model(
        name, pretrained=False, in_chans=channels, num_classes=0, global_pool="avg", drop_rate=0.0
    )
    width = network.num_features
    assert isinstance(width, int)
    return network, width


def _torchvision_resnet(name: Literal["resnet18", "resnet50"], stem: Stem, channels: int) -> tuple[nn.Module, int]:
    from torchvision.models import resnet18, resnet50  # takes a second to import: trials of small_resnet do not wait

    network = {"resnet18": resnet18, "resnet50": resnet50}[name](weights=None)
    width = network.fc.in_features
    network.fc = nn.Identity()
    if stem == "imagenet":
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    else:
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    if stem == "cifar":
        network.maxpool = nn.Identity()
    _initialise(network.conv1)
    return network, width


def _initialise(module: nn.Module) -> None:
    """Initialise convolutions as torchvision's ResNet does (He et al. 2015, fan out)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


class SmallResNet(nn.Module):
    """A ResNet of 5 weighted layers for small images on a CPU: a 3x3 stem and two strided basic blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, middle, wide = SMALL_WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(channels, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.blocks = nn.Sequential(BasicBlock(narrow, middle), BasicBlock(middle, wide))
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images).mean(dim=(2, 3))

    def maps(self, images: Tensor) -> Tensor:
        """Return the maps before the pooling: [B, width, h, w]."""
        maps: Tensor = self.blocks(self.stem(images))
        return maps


class BasicBlock(nn.Module):
    """Two 3x3 convolutions that halve the map, around a projected shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(maps)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(maps))
