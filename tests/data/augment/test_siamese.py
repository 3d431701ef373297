"""Distortions: what is applied, in which order, with which parameters."""

import numpy as np
import pytest
import torch

from raysl.data.augment import augmentations
from raysl.data.augment.siamese import cropped, distorted
from raysl.data.augment.views import Draw


def draw() -> Draw:
    return Draw(0, 0, 0, "view", np.arange(40), 40)


def test_crops_are_flipped_and_nothing_else() -> None:
    images = torch.rand(40, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    drawn = draw()
    expected = augmentations.random_resized_crop(images, drawn, (0.3, 1.0), (3 / 4, 4 / 3), "bilinear")
    expected = augmentations.horizontal_flip(expected, drawn, 0.5)
    found, nothing = cropped(images, draw(), min_crop=0.3, interpolation="bilinear")
    assert nothing is None
    assert torch.equal(found, expected)


@pytest.mark.parametrize("p_solarise", [0.0, 0.2])
@pytest.mark.parametrize("p_blur", [0.0, 0.5])
@pytest.mark.parametrize("saturation", [0.2, 0.4])
def test_images_are_distorted_in_this_order(saturation: float, p_blur: float, p_solarise: float) -> None:
    images = torch.rand(40, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    drawn = draw()
    expected = augmentations.random_resized_crop(images, drawn, (0.3, 1.0), (3 / 4, 4 / 3))
    expected = augmentations.horizontal_flip(expected, drawn, 0.5)
    expected = augmentations.colour_jitter(expected, drawn, 0.4, 0.4, saturation, 0.1, 0.8)
    expected = augmentations.grayscale(expected, drawn, 0.2)
    expected = augmentations.gaussian_blur(expected, drawn, p_blur, (0.1, 2.0))
    expected = augmentations.solarise(expected, drawn, p_solarise, 0.5)
    shares = {"p_blur": p_blur, "p_solarise": p_solarise}
    found, nothing = distorted(images, draw(), min_crop=0.3, saturation=saturation, **shares)
    assert nothing is None
    assert torch.equal(found, expected)
