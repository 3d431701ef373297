"""Distortions of images that methods share; each method passes its own parameters."""

from typing import NamedTuple

import torch
from torch import Tensor

from raysl.data.augment.affine import drawn_matrices, identities, transformed
from raysl.data.augment.augmentations import (
    Interpolation,
    boxed_crop,
    colour_jitter,
    gaussian_blur,
    grayscale,
    mirrored,
    solarise,
)
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw


def cropped(
    images: Tensor, draw: Draw, *, min_crop: float, interpolation: Interpolation = "bicubic"
) -> tuple[Tensor, None]:
    """Crop and flip images, each image with parameters of its own.

    images: float [B, C, H, W] in [0, 1].  min_crop: least share of an image's area that a view shows.
    """
    return _cropped(images, draw, min_crop, interpolation)[0], None


def _cropped(images: Tensor, draw: Draw, min_crop: float, interpolation: Interpolation) -> tuple[Tensor, Tensor]:
    """Return the views that `cropped` makes, and their edges on the CPU (`Placement`)."""
    views, boxes = boxed_crop(images, draw, (min_crop, 1.0), interpolation=interpolation)
    chosen = draw.bernoulli(0.5)
    top, left, height, width = boxes.unbind(1)
    right = left + width
    edges = [torch.where(chosen, right, left), top, torch.where(chosen, left, right), top + height]
    return mirrored(views, chosen), torch.stack(edges, 1)


def distorted(
    images: Tensor,
    draw: Draw,
    *,
    min_crop: float,
    saturation: float,
    p_blur: float,
    p_solarise: float,
    interpolation: Interpolation = "bicubic",
) -> tuple[Tensor, None]:
    """Crop, flip, recolour, blur and solarise images, each image with parameters of its own.

    images, min_crop, interpolation: as `cropped` takes them.  saturation: of the colour jitter.  p_blur, p_solarise:
    probabilities of an image; 0 turns the distortion off, and changes no other draw.
    """
    views, _ = cropped(images, draw, min_crop=min_crop, interpolation=interpolation)
    return _recoloured(views, draw, saturation, p_blur, p_solarise), None


def _recoloured(views: Tensor, draw: Draw, saturation: float, p_blur: float, p_solarise: float) -> Tensor:
    views = colour_jitter(views, draw, brightness=0.4, contrast=0.4, saturation=saturation, hue=0.1, p=0.8)
    views = grayscale(views, draw, p=0.2)
    views = gaussian_blur(views, draw, p_blur, sigma=(0.1, 2.0))
    return solarise(views, draw, p_solarise)


class Placement(NamedTuple):
    """Which part of each image a view shows.

    edges: [B, 4], the view's left, top, right and bottom edge, in pixels of the image from its outer edges; a mirrored
        view has its left edge on the right of its right one.
    matrices: [B, 2, 3], the affine transformation of the view after that, as `affine` has it.
    """

    edges: Tensor
    matrices: Tensor

    @classmethod
    def of(cls, aug_params: Tensor) -> "Placement":
        """Return the placement that `placed` has drawn: `aug_params` [B, 10]."""
        return cls(aug_params[:, :4], aug_params[:, 4:].view(-1, 2, 3))


def placed(
    images: Tensor,
    draw: Draw,
    *,
    min_crop: float,
    saturation: float,
    p_blur: float,
    p_solarise: float,
    interpolation: Interpolation,
    affine: bool,
) -> tuple[Tensor, Tensor]:
    """Distort images as `distorted` does, and then, if `affine`, transform them; return where each view lies, too.

    images: float [B, C, S, S] in [0, 1].  The other arguments: as `distorted` takes them.
    Returns the views, and float [B, 10] on their device, which `Placement.of` reads.
    """
    views, edges = _cropped(images, draw, min_crop, interpolation)
    views = _recoloured(views, draw, saturation, p_blur, p_solarise)
    matrices = on_device(drawn_matrices(draw) if affine else identities(len(images)), images.device, images.dtype)
    if affine:
        views = transformed(views, matrices)
    return views, torch.cat([on_device(edges, images.device, images.dtype), matrices.flatten(1)], 1)
