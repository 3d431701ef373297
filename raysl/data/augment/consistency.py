"""The weak and the strong view of consistency methods, each image with parameters of its own."""

import torch
from torch import Tensor

from raysl.data.augment.randaugment import randaugment
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw

SHIFT = 0.125  # largest shift of a weak view, as a share of the image's edge


def weak(images: Tensor, draw: Draw, *, p_flip: float = 0.5) -> tuple[Tensor, None]:
    """Mirror some images and shift each by whole pixels, at most an eighth of its edge each way.

    Sohn et al. 2020 (FixMatch, arXiv:2001.07685), section 2.3; what is shifted in is a reflection, as in its code.
    images: float [B, C, H, W] in [0, 1].  p_flip: probability that an image is mirrored.
    """
    mirrored = draw.bernoulli(p_flip).unsqueeze(1)
    batch, channels, height, width = images.shape
    rows, columns = (_reflected(draw, size, round(SHIFT * size)) for size in (height, width))
    columns = torch.where(mirrored, width - 1 - columns, columns)
    lines = (torch.arange(batch).unsqueeze(1) * height + rows) * width
    places = on_device(lines, images.device).unsqueeze(2) + on_device(columns, images.device).unsqueeze(1)
    # Whole pixels are moved: torch takes four times as long to move each channel's value.
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, places.flatten())
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2), None


def strong(images: Tensor, draw: Draw, *, p_flip: float = 0.5) -> tuple[Tensor, None]:
    """Change a weak view by two operations of RandAugment and by cutout (FixMatch, section 2.3).

    images, p_flip: as `weak` takes them.
    """
    views, _ = weak(images, draw, p_flip=p_flip)
    return randaugment(views, draw, cut=True), None


def _reflected(draw: Draw, size: int, most: int) -> Tensor:
    """Return the places that the pixels of a line are taken from, after a drawn shift: int64 [B, size]."""
    places = torch.arange(size) + (draw.integers(2 * most + 1) - most).unsqueeze(1)
    return (size - 1) - ((size - 1) - places.abs()).abs()
