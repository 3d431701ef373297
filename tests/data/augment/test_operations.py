"""Each operation of RandAugment does what torchvision's of the same name does with the same magnitude."""

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor

from raysl.data.augment.operations import FILL, NAMES, POINTWISE, RANGES
from raysl.data.augment.randaugment import augmented, magnitudes

LEVEL = 1 / 255
COUNT = 24


def affine(image: Tensor, translate: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Tensor:
    """Shift by shares of the edges and shear by tangents, about the top left corner."""
    pixels = [translate[0] * image.shape[2], translate[1] * image.shape[1]]
    degrees = [math.degrees(math.atan(tangent)) for tangent in shear]
    return reference.affine(image, 0.0, pixels, 1.0, degrees, fill=FILL, center=[0.0, 0.0])  # type: ignore[arg-type]


REFERENCE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "auto_contrast": lambda image, value: reference.autocontrast(image),
    "brightness": reference.adjust_brightness,
    "colour": reference.adjust_saturation,
    "contrast": reference.adjust_contrast,
    "equalise": lambda image, value: reference.equalize(image),
    "identity": lambda image, value: image,
    "posterise": lambda image, value: reference.posterize(image, int(value)),
    "sharpness": reference.adjust_sharpness,
    "solarise": reference.solarize,
    "rotate": lambda image, value: reference.rotate(image, value, fill=FILL),
    "shear_x": lambda image, value: affine(image, shear=(value, 0)),
    "shear_y": lambda image, value: affine(image, shear=(0, value)),
    "translate_x": lambda image, value: affine(image, translate=(value, 0)),
    "translate_y": lambda image, value: affine(image, translate=(0, value)),
}
# On whole levels torchvision's results are levels too: it rounds down what it blends with, and the blend.
ON_LEVELS = {
    **{name: (REFERENCE[name], LEVEL) for name in ("auto_contrast", "brightness")},
    **{name: (REFERENCE[name], 2 * LEVEL) for name in ("colour", "contrast", "sharpness")},
    "equalise": (REFERENCE["equalise"], 0.0),
    "posterise": (REFERENCE["posterise"], 0.0),
    "solarise": (lambda image, value: reference.solarize(image, math.ceil(255 * value)), 0.0),
}


def pictures(channels: int, height: int, width: int) -> Tensor:
    """Return images of whole levels, uint8: smooth, dark and noisy ones, a plain one and one of two levels."""
    numbers = torch.Generator().manual_seed(0)
    small = torch.rand(COUNT, channels, height // 4, width // 4, generator=numbers)
    images = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    images[1::3] *= 0.3
    images[2::3] = torch.rand(images[2::3].shape, generator=numbers)
    images[0] = 0.4
    images[3] = (images[3] > 0.5).float()
    return (images * 255).round().byte()


def one(images: Tensor, name: str, values: Tensor) -> Tensor:
    return augmented(images, [torch.full((len(images),), NAMES.index(name))], [values])


def drawn(name: str) -> Tensor:
    shares = torch.rand(COUNT, generator=torch.Generator().manual_seed(1))
    return magnitudes(torch.full((COUNT,), NAMES.index(name)), shares)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (3, 24, 40)])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "posterise"])  # it is another one on floats
def test_an_operation_is_torchvisions(name: str, channels: int, height: int, width: int) -> None:
    # In fp64: where a nearest pixel is nearly a tie, rounding in fp32 decides.
    images = pictures(channels, height, width).double() / 255
    values = drawn(name)
    for image, value, view in zip(images, values.tolist(), one(images, name, values), strict=True):
        expected = REFERENCE[name](image, value)
        torch.testing.assert_close(view, expected, rtol=0, atol=5e-5 if name in ("colour", "contrast") else 1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ON_LEVELS)
def test_an_operation_on_levels_is_torchvisions_on_uint8(name: str, channels: int) -> None:
    levels, values = pictures(channels, 32, 32), drawn(name)
    operation, tolerance = ON_LEVELS[name]
    for image, value, view in zip(levels, values.tolist(), one(levels / 255, name, values), strict=True):
        expected = operation(image, value) / 255
        torch.testing.assert_close(view, expected, rtol=0, atol=tolerance * 1.01 + 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_in_fp32_few_pixels_differ_from_those_in_fp64(name: str) -> None:
    images, values = pictures(3, 32, 32), drawn(name)
    found, expected = one(images / 255, name, values), one(images.double() / 255, name, values)
    assert ((found - expected).abs() > 1e-5).double().mean() < 1e-3


def test_pixels_at_the_threshold_are_inverted() -> None:
    levels = torch.arange(256.0).view(1, 1, 16, 16) / 255
    for place in (0, 77, 255):
        expected = torch.where(torch.arange(256).view(16, 16) < place, levels, 1 - levels)
        assert torch.equal(one(levels, "solarise", levels.flatten()[[place]]), expected)


def test_magnitudes_are_degrees_and_shares_of_the_edge() -> None:
    image = torch.zeros(1, 1, 21, 41)
    image[0, 0, 10, 30] = 1
    place = lambda name, value: tuple(torch.nonzero(one(image, name, torch.tensor([value]))[0, 0] == 1)[0].tolist())  # noqa: E731
    assert place("translate_x", 0.2) == (10, 38)
    assert place("translate_y", -0.2) == (6, 30)
    assert place("rotate", 30.0) == (5, 29)  # 10 right of the centre: 8.66 right and 5 up
    assert place("shear_x", 0.2) == (10, 28)  # row 10.5 moves 2.1 to the left
    assert place("shear_y", 0.2) == (4, 30)  # column 30.5 moves 6.1 up


@pytest.mark.parametrize("name", [name for name in NAMES if name not in POINTWISE])
def test_what_an_operation_uncovers_is_gray(name: str) -> None:
    moved = one(torch.ones(1, 3, 32, 32), name, torch.tensor([RANGES[name][1]]))
    assert set(moved.unique().tolist()) == {0.5, 1.0}


def test_a_channel_with_few_pixels_is_not_equalised() -> None:
    images = pictures(3, 8, 8) / 255
    assert torch.equal(one(images, "equalise", drawn("equalise")), images)


@pytest.mark.parametrize(("height", "width"), [(2, 9), (9, 2), (1, 1)])
def test_images_without_an_inside_are_not_sharpened(height: int, width: int) -> None:
    images = torch.rand(COUNT, 3, height, width)
    assert torch.equal(one(images, "sharpness", drawn("sharpness")), images)
