"""Heads that give each place of a backbone's maps the logits of classes.

`deeplabv3`: Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587,
section 3.2, of torchvision's own parts: a 1x1 convolution, three dilated 3x3 ones and the pooled image, joined by a 1x1
convolution with dropout; then a 3x3 convolution.
`deeplabv2`: Chen et al. 2018, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution,
and Fully Connected CRFs", arXiv:1606.00915, section 3.2: the sum of four dilated 3x3 convolutions to the classes.

Their dilations are the papers': 6, 12, 18 at output stride 16 for `deeplabv3`, and 6, 12, 18, 24 at 8 for `deeplabv2`;
in proportion at others.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Head = Literal["deeplabv3", "deeplabv2"]

RATES = {"deeplabv3": ((6, 12, 18), 16), "deeplabv2": ((6, 12, 18, 24), 8)}  # with the output stride that they are for


def build_head(
    name: Head, inputs: int, num_classes: int, *, width: int, dropout: float, output_stride: int
) -> nn.Module:
    """Return a head with random weights: maps [B, inputs, h, w] -> logits [B, num_classes, h, w].

    width, dropout: channels of `deeplabv3`, and the share of them that it drops; `deeplabv2` has none.
    """
    rates = rates_of(name, output_stride)
    if name == "deeplabv2":
        return DeepLabV2(inputs, num_classes, rates)
    return DeepLabV3(inputs, num_classes, width, dropout, rates)


def rates_of(name: Head, output_stride: int) -> list[int]:
    """Return the dilation of each 3x3 convolution of a head, at least 1."""
    rates, stride = RATES[name]
    return [max(1, rate * stride // output_stride) for rate in rates]


class DeepLabV3(nn.Sequential):
    """Atrous spatial pyramid pooling, a 3x3 convolution, and logits."""

    def __init__(self, inputs: int, num_classes: int, width: int, dropout: float, rates: list[int]) -> None:
        from torchvision.models.segmentation.deeplabv3 import ASPP  # takes a second to import

        pyramid = ASPP(inputs, rates, width)
        pyramid.project[3] = nn.Dropout(dropout)
        super().__init__(
            pyramid,
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, num_classes, 1),
        )


class DeepLabV2(nn.Module):
    """The sum of dilated convolutions to the classes."""

    def __init__(self, inputs: int, num_classes: int, rates: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(inputs, num_classes, 3, padding=rate, dilation=rate) for rate in rates)
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        return torch.stack([branch(maps) for branch in self.branches]).sum(0)
