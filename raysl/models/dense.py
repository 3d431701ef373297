"""Feature maps of backbones, for predictions of each pixel: with dilation in place of strides.

A block that would make maps smaller than the output stride allows has stride 1 and the dilation of the block before it;
the blocks after it have twice that dilation (Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image
Segmentation", arXiv:1706.05587, section 3.1). Maps are those of torchvision's and timm's own options for it.
"""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from raysl.models.backbones import SmallResNet


def feature_maps(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return the maps [B, width, h, w] whose mean over places is what a backbone gives for images [B, C, H, W]."""
    if isinstance(backbone, SmallResNet):
        return backbone.maps(images)
    maps: Tensor
    if _is_inverted(backbone):
        maps = backbone.forward_features(images)  # type: ignore[operator]
    else:
        maps = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))  # type: ignore[operator]
        for layer in _layers(backbone):
            maps = layer(maps)
    return maps


def set_output_stride(backbone: nn.Module, output_stride: int) -> None:
    """Change a backbone so that its maps have at least 1 / output_stride of the images' height and width.

    Its weights stay.
    """
    stride, dilation = _stem_stride(backbone), 1
    for block in _blocks(backbone):
        convs = [part for part in block.modules() if isinstance(part, nn.Conv2d)]
        own = max(max(conv.stride) for conv in convs)
        keeps = own > 1 and stride * own > output_stride
        for conv in convs:
            if keeps:
                conv.stride = (1, 1)
            _dilate(conv, dilation)
        if keeps:
            dilation *= own
        else:
            stride *= own


def _dilate(conv: nn.Conv2d, dilation: int) -> None:
    sizes = conv.kernel_size
    if dilation > 1 and max(sizes) > 1:
        # timm's own padding, as TensorFlow has it, is computed from the dilation when images pass.
        if any(padding not in (0, "same") for padding in conv.padding):
            conv.padding = tuple(dilation * (size - 1) // 2 for size in sizes)
        conv.dilation = (dilation, dilation)


def _is_inverted(backbone: nn.Module) -> bool:
    """Return whether a backbone is one of timm's networks of inverted residual blocks."""
    return hasattr(backbone, "conv_stem") and hasattr(backbone, "blocks")


def _layers(backbone: nn.Module) -> Sequence[nn.Sequential]:
    return [backbone.get_submodule(f"layer{number}") for number in range(1, 5)]  # type: ignore[misc]


def _blocks(backbone: nn.Module) -> list[nn.Module]:
    """Return the blocks of a backbone, in the order in which images pass them."""
    if isinstance(backbone, SmallResNet):
        return list(backbone.blocks)
    stages = backbone.blocks if _is_inverted(backbone) else _layers(backbone)
    return list(chain.from_iterable(stages))  # type: ignore[arg-type]


def _stem_stride(backbone: nn.Module) -> int:
    """Return how many times smaller than the images the maps are that the first block takes."""
    if isinstance(backbone, SmallResNet):
        return 1
    if _is_inverted(backbone):
        return int(backbone.conv_stem.stride[0])  # type: ignore[index]
    pool = backbone.maxpool
    return int(backbone.conv1.stride[0]) * (1 if isinstance(pool, nn.Identity) else int(pool.stride))  # type: ignore


def enlarged(maps: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Return maps [B, C, h, w] enlarged to a height and width, bilinearly, without aligned corners."""
    return nn.functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
