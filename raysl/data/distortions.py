"""The distortion of images that siamese methods share, each method with numbers of its own."""

from torch import Tensor

from raysl.data.augmentations import (
    colour_jitter,
    gaussian_blur,
    grayscale,
    horizontal_flip,
    random_resized_crop,
    solarise,
)
from raysl.data.views import Draw


def distorted(
    images: Tensor, draw: Draw, *, min_crop: float, saturation: float, p_blur: float, p_solarise: float
) -> tuple[Tensor, None]:
    """Crop, flip, recolour, blur and solarise images, each image with parameters of its own.

    images: float [B, C, H, W] in [0, 1].  min_crop: least share of an image's area that a view shows.  saturation: of
    the colour jitter.  p_blur, p_solarise: shares of images; 0 is none, and changes nothing else that is drawn.
    """
    views = random_resized_crop(images, draw, scale=(min_crop, 1.0))
    views = horizontal_flip(views, draw, p=0.5)
    views = colour_jitter(views, draw, brightness=0.4, contrast=0.4, saturation=saturation, hue=0.1, p=0.8)
    views = grayscale(views, draw, p=0.2)
    views = gaussian_blur(views, draw, p_blur, sigma=(0.1, 2.0))
    return solarise(views, draw, p_solarise), None
