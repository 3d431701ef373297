"""Distortions of images that methods share; each method passes its own parameters."""

from torch import Tensor

from raysl.data.augment.augmentations import (
    Interpolation,
    colour_jitter,
    gaussian_blur,
    grayscale,
    horizontal_flip,
    random_resized_crop,
    solarise,
)
from raysl.data.augment.views import Draw


def cropped(
    images: Tensor, draw: Draw, *, min_crop: float, interpolation: Interpolation = "bicubic"
) -> tuple[Tensor, None]:
    """Crop and flip images, each image with parameters of its own.

    images: float [B, C, H, W] in [0, 1].  min_crop: least share of an image's area that a view shows.
    """
    views = random_resized_crop(images, draw, scale=(min_crop, 1.0), interpolation=interpolation)
    return horizontal_flip(views, draw, p=0.5), None


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
    views = colour_jitter(views, draw, brightness=0.4, contrast=0.4, saturation=saturation, hue=0.1, p=0.8)
    views = grayscale(views, draw, p=0.2)
    views = gaussian_blur(views, draw, p_blur, sigma=(0.1, 2.0))
    return solarise(views, draw, p_solarise), None
