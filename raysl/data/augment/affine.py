"""Affine transformations of a batch of images or of feature maps, each with a matrix of its own, and their inverses.

Xu et al. 2022, "Revisiting Pretraining for Semi-Supervised Learning in the Low-Label Regime", arXiv:2205.03001, section
III-C: scaling, rotation, shearing and translation, each chosen with probability 1/2, by bilinear interpolation. The
paper does not print their distributions; those here are the constants below.

A matrix [2, 3] gives, for each place of the result, the place of the given image that is shown there. Places are (x, y)
with -1 and 1 at the outer edges of a square image, so that one matrix fits an image and its maps of any size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from raysl.data.augment.views import Draw

SCALE = 1.25  # largest factor; the smallest is its inverse, and their logarithm is uniform
ROTATION = math.radians(30)  # largest angle either way
SHEAR = math.radians(15)  # largest angle either way, of vertical lines
SHIFT = 0.1  # largest share of the edge either way, on each axis

ROUNDING = 2e-5  # of interpolation weights, in fp32


def drawn_matrices(draw: Draw, p: float = 0.5) -> Tensor:
    """Draw a transformation for each image: float [B, 2, 3] on the CPU.

    An image is scaled, sheared, turned and shifted, in this order and about its centre.
    p: probability of each of the four; 0 gives identities.
    """
    scaled, sheared, turned, shifted = (draw.bernoulli(p) for _ in range(4))
    size, slant, angle, *shifts = draw.uniforms(5, -1.0, 1.0)
    scale = (size * scaled * math.log(SCALE)).exp()
    shear, turn = (slant * sheared * SHEAR).tan(), angle * turned * ROTATION
    cos, sin = turn.cos() * scale, turn.sin() * scale
    x, y = (2 * SHIFT * shift * shifted for shift in shifts)
    rows = [cos, cos * shear - sin, x, sin, sin * shear + cos, y]
    return inverse(torch.stack(rows, 1).view(-1, 2, 3))


def identities(count: int) -> Tensor:
    """Return the matrices that change nothing: float [count, 2, 3] on the CPU."""
    return torch.eye(2, 3).repeat(count, 1, 1)


def inverse(matrices: Tensor) -> Tensor:
    """Return the matrices [B, 2, 3] that undo matrices [B, 2, 3]."""
    a, b, x, c, d, y = matrices.flatten(1).unbind(1)
    area = a * d - b * c
    rows = [d, -b, b * y - d * x, -c, a, c * x - a * y]
    return (torch.stack(rows, 1) / area.unsqueeze(1)).view(-1, 2, 3)


def transformed(maps: Tensor, matrices: Tensor) -> Tensor:
    """Return images or maps, transformed, in fp32 at least; what comes from outside of them is 0.

    maps: [B, C, S, S].  matrices: [B, 2, 3].
    """
    wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
    grid = F.affine_grid(matrices.to(wide), list(wide.shape), align_corners=False)
    return F.grid_sample(wide, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def restored(maps: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Undo the transformation of the images that maps were computed from; differentiable.

    A pixel is valid if none of the pixels that it is interpolated from shows what lies outside of the image: there, the
    inverse of transformed maps is the maps themselves, up to interpolation.
    maps: [B, C, h, w] of transformed images.  matrices: [B, 2, 3], those of the images.
    Returns maps [B, C, h, w] of the images as they were before, in fp32 at least, and valid, bool [B, h, w].
    """
    back = inverse(matrices)
    with torch.no_grad():
        ones = transformed(torch.ones_like(maps[:, :1]), matrices)
        # Whole pixels of the transformed image alone: a pixel that is partly from outside counts as outside.
        whole = (ones > 1 - ROUNDING).to(ones)
        valid = transformed(whole, back)[:, 0] > 1 - ROUNDING
    return transformed(maps, back), valid
