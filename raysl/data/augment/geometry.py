"""Views of images with masks: one geometry for both, bilinear for images and nearest for masks.

Pixels are counted from the outer edge of the first one: its centre is at 0.5.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw
from raysl.results.confusion import IGNORED


class Sampled(NamedTuple):
    """The places of an image that the pixels of its view show, in pixels of the image.

    rows: float [B, h], of each row of the view.  columns: float [B, w].
    """

    rows: Tensor
    columns: Tensor


def scaled_crops(draw: Draw, edge: int, crop: int, scale: tuple[float, float], p_flip: float) -> Sampled:
    """Draw a scale and a square part of each scaled image; where an image is smaller than that, all of it is shown.

    edge: of the images, in pixels.  crop: of the views.  scale: bounds.  p_flip: probability that a view is mirrored.
    """
    factor = draw.uniform(*scale).unsqueeze(1)
    mirrored = draw.bernoulli(p_flip).unsqueeze(1)
    corners = draw.uniforms(2).unsqueeze(2) * (edge - crop / factor)
    rows, columns = corners + (torch.arange(crop) + 0.5) / factor
    return Sampled(rows, torch.where(mirrored, columns.flip(1), columns))


def sample_images(images: Tensor, places: Sampled) -> Tensor:
    """Return the images [B, C, h, w] at some places, interpolated bilinearly; what lies outside is a reflection.

    images: float [B, C, H, W].
    """
    height, width = images.shape[2:]
    rows, columns = (on_device(values, images.device, images.dtype) for values in places)
    across, down = (2 * columns / width - 1).unsqueeze(1), (2 * rows / height - 1).unsqueeze(2)
    grid = torch.stack([across.expand(-1, rows.shape[1], -1), down.expand(-1, -1, columns.shape[1])], dim=3)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def sample_masks(masks: Tensor, places: Sampled) -> Tensor:
    """Return the masks [B, h, w] at some places, of the pixel that each place lies in; IGNORED outside.

    masks: uint8 [B, H, W].
    """
    height, width = masks.shape[1:]
    rows, columns = (on_device(values.floor().long(), masks.device) for values in places)
    inside = ((rows >= 0) & (rows < height)).unsqueeze(2) & ((columns >= 0) & (columns < width)).unsqueeze(1)
    batch = torch.arange(len(masks), device=masks.device).view(-1, 1, 1)
    found = masks[batch, rows.clamp(0, height - 1).unsqueeze(2), columns.clamp(0, width - 1).unsqueeze(1)]
    return found.masked_fill(~inside, IGNORED)


def cropped_images(
    images: Tensor, draw: Draw, *, crop: int, scale: tuple[float, float], p_flip: float
) -> tuple[Tensor, None]:
    """Scale, crop and mirror images, each with parameters of its own.

    images: float [B, C, S, S] in [0, 1].  crop, scale, p_flip: as `scaled_crops` takes them.
    Returns [B, C, crop, crop].
    """
    return sample_images(images, scaled_crops(draw, images.shape[3], crop, scale, p_flip)), None


def cropped_masks(masks: Tensor, draw: Draw, *, crop: int, scale: tuple[float, float], p_flip: float) -> Tensor:
    """Return the masks of the views that `cropped_images` makes with the same numbers: uint8 [B, crop, crop].

    masks: uint8 [B, S, S].
    """
    return sample_masks(masks, scaled_crops(draw, masks.shape[2], crop, scale, p_flip))
