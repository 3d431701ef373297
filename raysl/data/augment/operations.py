"""The operations of RandAugment, each on a batch of images, each image with a magnitude of its own.

Images are float [N, C, H, W] in [0, 1] with C = 1 or 3, and so are the results; an operation may change its images in
place. Operations do what PIL's do, and torchvision's of the same names, on levels that need not be whole numbers.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from raysl.data.augment.augmentations import luma

HIGHEST = 255  # level of a channel, for operations on levels
FILL = 0.5  # the gray of what an operation uncovers

Operation = Callable[[Tensor, Tensor], Tensor]  # takes images and their magnitudes, [N, 1, 1, 1]


def auto_contrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Stretch each channel to the whole range; a plain one stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    plain = high == low
    return images.sub_(low.masked_fill(plain, 0)).div_((high - low).masked_fill(plain, 1))


def brightness(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Blend with black; magnitudes are the shares of the images, as in the next two."""
    return images.mul_(magnitudes)


def colour(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Blend with the gray image."""
    if images.shape[1] == 1:
        return images
    gray = luma(images).mul_(1 - magnitudes)
    return images.mul_(magnitudes).add_(gray)


def contrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Blend with the image's mean gray."""
    mean = luma(images).mean((1, 2, 3), keepdim=True)
    return images.mul_(magnitudes).add_(mean * (1 - magnitudes))


def equalise(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Spread the levels of each channel evenly.

    As in PIL, pixels of the channel's highest level do not count, and if fewer than 255 others are left the channel
    stays as it is.
    """
    lines = (images * HIGHEST).round_().flatten(2).flatten(0, 1)
    highest = lines.amax(1, keepdim=True).long()
    # Each channel has entries of its own in one table.
    pixels = lines.long().add_((HIGHEST + 1) * torch.arange(len(lines), device=images.device).unsqueeze(1)).flatten()
    table = torch.zeros(len(lines) * (HIGHEST + 1), dtype=torch.int64, device=images.device)
    counts = table.scatter_add_(0, pixels, torch.ones_like(pixels)).view(len(lines), -1)
    step = (lines.shape[1] - counts.gather(1, highest)) // HIGHEST
    below = (counts.cumsum(1) - counts).double()  # in fp64, quotients of these numbers round down as whole ones do
    levels = ((below + step // 2) / step.clamp(min=1)).floor_().clamp_(max=HIGHEST)
    equal = (levels / HIGHEST).to(images.dtype).flatten().index_select(0, pixels).view(images.shape)
    return images.lerp(equal, (step > 0).to(images.dtype).view(*images.shape[:2], 1, 1))


def identity(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Return the images as they are."""
    return images


def posterise(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Keep the highest bits of each level, as many as the whole part of the magnitude says."""
    step = torch.exp2(8 - magnitudes.floor())
    return images.mul_(HIGHEST).round_().div_(step).floor_().mul_(step).div_(HIGHEST)


def sharpness(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Blend with the smoothed image, the means of 3 x 3 pixels where the middle one counts 5 times.

    Magnitudes are the shares of the images; pixels of the border stay as they are.
    """
    width = images.shape[3]
    # An image is added to itself as one line, which is faster; what is wrong at the border is not taken.
    line, blended = images.flatten(1), images.clone()
    sums = (line[:, :-2] + line[:, 1:-1]).add_(line[:, 2:])
    around = (sums[:, : -2 * width] + sums[:, width:-width]).add_(sums[:, 2 * width :])
    middle, shares = line[:, width + 1 : -width - 1], magnitudes.flatten(1)
    smooth = around.add_(middle, alpha=4).div_(13)
    blended.flatten(1)[:, width + 1 : -width - 1] = smooth.mul_(1 - shares).add_(middle * shares)
    images[:, :, 1:-1, 1:-1] = blended[:, :, 1:-1, 1:-1]
    return images


def solarise(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Invert the pixels at or above the magnitude."""
    return images.sub_(images.clone().ge_(magnitudes)).abs_()  # |x - 1| there, and |x| elsewhere


POINTWISE: dict[str, Operation] = {
    "auto_contrast": auto_contrast,
    "brightness": brightness,
    "colour": colour,
    "contrast": contrast,
    "equalise": equalise,
    "identity": identity,
    "posterise": posterise,
    "sharpness": sharpness,
    "solarise": solarise,
}
RANGES = {  # of magnitudes; the operations of `POINTWISE` come first
    "auto_contrast": (0.0, 0.0),
    "brightness": (0.05, 0.95),
    "colour": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "equalise": (0.0, 0.0),
    "identity": (0.0, 0.0),
    "posterise": (4.0, 9.0),  # bits, rounded down
    "sharpness": (0.05, 0.95),
    "solarise": (0.0, 1.0),
    "rotate": (-30.0, 30.0),  # degrees, counter-clockwise
    "shear_x": (-0.3, 0.3),  # pixels to the left for each row
    "shear_y": (-0.3, 0.3),  # pixels upwards for each column
    "translate_x": (-0.3, 0.3),  # of the width, to the right
    "translate_y": (-0.3, 0.3),  # of the height, downwards
}
NAMES = tuple(RANGES)


def moves(numbers: Tensor, magnitudes: Tensor, height: int, width: int) -> Tensor:
    """Return where each image's pixels come from: float [N, 3, 2], as the transpose of what `affine_grid` takes.

    numbers: int64 [N], places in `NAMES`; images of operations that move nothing stay where they are.
    magnitudes: float64 [N].
    """
    of = {name: magnitudes * (numbers == NAMES.index(name)) for name in NAMES if name not in POINTWISE}
    cos, sin = torch.cos(of["rotate"] * (math.pi / 180)), torch.sin(of["rotate"] * (math.pi / 180))
    by_row, by_column = of["shear_x"] * (height / width), of["shear_y"] * (width / height)
    # These shears leave the middle where it is; the shift leaves the first row or column there.
    shift_x, shift_y = by_row - 2 * of["translate_x"], by_column - 2 * of["translate_y"]
    x = [cos, by_row - sin * (height / width), shift_x]
    y = [sin * (width / height) + by_column, cos, shift_y]
    return torch.stack([*x, *y], 1).view(-1, 2, 3).mT.contiguous()


def moved(images: Tensor, moves: Tensor) -> Tensor:
    """Take each pixel from the nearest one to where it comes from, as `moves` says; outside is gray."""
    x, y = (_centres(size, images) for size in images.shape[:1:-1])
    by_x, by_y, shift = torch.view_as_complex(moves).view(-1, 3, 1, 1).unbind(1)
    # As x + iy, which takes half the time of x and y on their own.
    grid = torch.view_as_real(by_x * x + (by_y * y.unsqueeze(1) + shift))
    return F.grid_sample(images.sub_(FILL), grid, "nearest", "zeros", align_corners=False).add_(FILL)


def _centres(size: int, images: Tensor) -> Tensor:
    """Return the centres of a line's pixels, where the line is from -1 to 1."""
    return (torch.arange(size, device=images.device, dtype=images.dtype) * 2 + 1) / size - 1
