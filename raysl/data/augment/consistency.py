"""The weak view of consistency methods, each image with parameters of its own."""

import torch
from torch import Tensor

from raysl.data.augment.augmentations import horizontal_flip
from raysl.data.augment.views import Draw

SHIFT = 0.125  # largest shift of a weak view, as a share of the image's edge


def weak(images: Tensor, draw: Draw, *, p_flip: float = 0.5) -> tuple[Tensor, None]:
    """Mirror some images and shift each by whole pixels, at most an eighth of its edge each way.

    Sohn et al. 2020 (FixMatch, arXiv:2001.07685), section 2.3; what is shifted in is a reflection, as in its code.
    images: float [B, C, H, W] in [0, 1].  p_flip: probability that an image is mirrored.
    """
    return shifted(horizontal_flip(images, draw, p_flip), draw, SHIFT), None


def shifted(images: Tensor, draw: Draw, share: float) -> Tensor:
    """Shift each image by whole pixels; both directions are drawn, and what is shifted in is a reflection.

    share: largest shift, as a share of the image's height and width.
    """
    height, width = images.shape[2:]
    rows, columns = (_reflected(draw, size, round(share * size)).to(images.device) for size in (height, width))
    batch, channels = images.shape[:2]
    lines = images.gather(2, rows.view(batch, 1, height, 1).expand(-1, channels, -1, width))
    return lines.gather(3, columns.view(batch, 1, 1, width).expand(-1, channels, height, -1))


def _reflected(draw: Draw, size: int, most: int) -> Tensor:
    """Return the places that the pixels of a line are taken from, after a drawn shift: int64 [B, size]."""
    places = torch.arange(size) + (draw.integers(2 * most + 1) - most).unsqueeze(1)
    return (size - 1) - ((size - 1) - places.abs()).abs()


def strong(images: Tensor, draw: Draw, *, p_flip: float = 0.5) -> tuple[Tensor, None]:
    return weak(images, draw, p_flip=p_flip)
