"""Augmentations of a batch of images, each image with parameters of its own, as batched tensor operations.

Images are float [B, C, H, W] in [0, 1] with C = 1 or 3, and so are the results. Parameters are drawn on the CPU
through `Draw`, so that any number of ranks sees the same views; images stay on their device. Parameters mean the same
as in torchvision's transforms of the same names.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw

CROP_TRIES = 10  # as torchvision's RandomResizedCrop, which then takes the largest central crop
LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as torchvision rounds it
CONTRAST, SATURATION, HUE, UNCHANGED = range(1, 5)  # adjustments of colours; 0 is brightness, the last none

Interpolation = Literal["bilinear", "bicubic"]  # PIL's filters; PyTorch's own bicubic one is another (a = -3/4)
Change = Callable[[Tensor, Tensor], Tensor]  # takes some images of a batch, and their rows


def random_resized_crop(
    images: Tensor,
    draw: Draw,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: Interpolation = "bicubic",
) -> Tensor:
    """Cut a drawn box out of each image and enlarge it to the image's size.

    scale: bounds of the box's share of the area.  ratio: bounds of its width over its height.  interpolation: changes
    no draw.
    """
    return boxed_crop(images, draw, scale, ratio, interpolation)[0]


def boxed_crop(
    images: Tensor,
    draw: Draw,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: Interpolation = "bicubic",
) -> tuple[Tensor, Tensor]:
    """Return what `random_resized_crop` does, and the boxes: int64 [B, 4] on the CPU, each top, left, height, width."""
    boxes = crop_boxes(draw, images.shape[2], images.shape[3], scale, ratio)
    return crop_and_resize(images, boxes, interpolation), boxes


def crop_boxes(draw: Draw, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Draw boxes as RandomResizedCrop does: int64 [B, 4], each top, left, height, width.

    Areas are uniform and ratios log-uniform; the first of `CROP_TRIES` pairs that fits into the image is taken.
    """
    areas = draw.uniforms(CROP_TRIES, *scale).double() * (height * width)
    ratios = draw.uniforms(CROP_TRIES, *map(math.log, ratio)).double().exp()
    sizes = torch.stack([(areas / ratios).sqrt().round(), (areas * ratios).sqrt().round()], -1).long()
    image = torch.tensor([height, width])
    fits = ((sizes > 0) & (sizes <= image)).all(-1)
    fitting = sizes.gather(0, fits.long().argmax(0).view(1, -1, 1).expand(1, -1, 2))[0]
    largest = image.minimum(torch.tensor([round(width / ratio[0]), round(height * ratio[1])]))
    found = fits.any(0).unsqueeze(1)
    size = torch.where(found, fitting, largest)
    # In fp64: in fp32 a value just below 1 could be rounded up, and the box would leave the image.
    places = draw.uniforms(2).T.double()
    corner = torch.where(found, (places * (image - size + 1)).long(), (image - size) // 2)
    return torch.cat([corner, size], 1)


def crop_and_resize(images: Tensor, boxes: Tensor, interpolation: Interpolation = "bicubic") -> Tensor:
    """Cut a box out of each image and enlarge it to the image's size.

    boxes: int64 [B, 4], each top, left, height, width.  interpolation: `bilinear`, the default of torchvision's
    transforms, or `bicubic` (Keys 1981, a = -1/2); neither reads anything from outside the box.
    """
    top, left, height, width = on_device(boxes, images.device, images.dtype).unbind(1)
    rows = _enlarging_weights(top, height, images.shape[2], interpolation)
    columns = _enlarging_weights(left, width, images.shape[3], interpolation)
    return _filtered(images, rows, columns)


def _enlarging_weights(start: Tensor, length: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """Return the weight of each pixel of a line in each pixel of its enlarged part: [B, size (new), size (old)]."""
    reach, kernel = {"bilinear": (1, _triangle), "bicubic": (2, _cubic)}[interpolation]
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    centres = (torch.arange(size, device=start.device).view(1, -1, 1) + 0.5) * (length / size)
    taps = (centres - 0.5).floor() + torch.arange(1 - reach, 1 + reach, device=start.device)
    weights = kernel((taps + 0.5 - centres).abs())
    weights.masked_fill_((taps < 0) | (taps >= length), 0)
    weights /= weights.sum(2, keepdim=True)
    places = (taps + start).clamp_(0, size - 1).long()
    return weights.new_zeros(len(start), size, size).scatter_add_(2, places, weights)


def _triangle(distances: Tensor) -> Tensor:
    return (1 - distances).clamp_(min=0)


def _cubic(distances: Tensor) -> Tensor:
    outer = (2 - distances).clamp_(min=0)
    inner = (outer - 1).clamp_(min=0)
    # Keys' outer cubic, in 2 minus the distance, and what the inner cubic adds to it, in 1 minus the distance.
    return 0.5 * outer.square() * (outer - 1) + inner.square() * (1 - 2 * inner)


def _filtered(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Filter each image along its rows and columns; values are clipped to [0, 1].

    rows, columns: [B, H, H] and [B, W, W]; each line holds the weights of one new pixel.
    """
    batch, channels, height, width = images.shape
    lines = images.reshape(batch, channels * height, width) @ columns.mT
    return (rows.unsqueeze(1) @ lines.view(images.shape)).clamp_(0, 1)


def horizontal_flip(images: Tensor, draw: Draw, p: float = 0.5) -> Tensor:
    """Mirror images left to right, each with probability p."""
    return mirrored(images, draw.bernoulli(p))


def mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the chosen images left to right.

    chosen: bool [B], on the CPU.
    """
    return _on(chosen, images, lambda group, rows: group.flip(3))


def colour_jitter(
    images: Tensor, draw: Draw, brightness: float, contrast: float, saturation: float, hue: float, p: float = 1.0
) -> Tensor:
    """Change brightness, contrast, saturation and hue by drawn amounts in a drawn order, each image with probability p.

    brightness, contrast, saturation: factors are uniform in [max(0, 1 - value), 1 + value].  hue: the shift, in turns,
    is uniform in [-value, value].  Saturation and hue leave gray images as they are.
    """
    return adjust_colours(images, *colour_changes(draw, brightness, contrast, saturation, hue, p))


def colour_changes(
    draw: Draw, brightness: float, contrast: float, saturation: float, hue: float, p: float
) -> tuple[Tensor, Tensor]:
    """Draw factors [B, 4] and orders int64 [B, 4] for `adjust_colours`; all orders are equally likely."""
    chosen = draw.bernoulli(p)
    factors = [draw.uniform(max(0.0, 1 - value), 1 + value) for value in (brightness, contrast, saturation)]
    factors.append(draw.uniform(-hue, hue))
    order = draw.uniforms(4).T.argsort(1)
    return torch.stack(factors, 1), order.masked_fill(~chosen.unsqueeze(1), UNCHANGED)


def adjust_colours(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Apply the four adjustments of each image in its own order.

    factors: [B, 4], for brightness, contrast, saturation and hue.  order: int64 [B, 4], the numbers of the adjustments
    (0 to 3) in the order in which they apply, or UNCHANGED four times.  Both on the CPU.
    """
    chosen = torch.nonzero(order[:, 0] != UNCHANGED).squeeze(1)
    if not len(chosen):
        return images
    hue_at = (order[chosen] == HUE).long().argmax(1)
    # Sorted by the place of hue in their order: images blended before hue are contiguous, and so are those after it.
    rows = chosen[hue_at.argsort()]
    with_hue_by = torch.bincount(hue_at, minlength=4).cumsum(0).tolist()  # images with hue at or before each place
    factors, order = factors[rows], order[rows]
    by_place = list(zip(factors.gather(1, order).unbind(1), order.unbind(1), with_hue_by, strict=True))
    changed = images.index_select(0, on_device(rows, images.device))
    for factor, numbers, count in by_place[:-1]:
        _blend(changed[count:], factor[count:], numbers[count:])
    if images.shape[1] == 3:
        changed = _hue(changed, _columns(factors[:, HUE], images))
    for (factor, numbers, _), (_, _, count) in zip(by_place[1:], by_place, strict=False):
        _blend(changed[:count], factor[:count], numbers[:count])
    return _put(images, rows, changed)


def _blend(images: Tensor, factor: Tensor, numbers: Tensor) -> None:
    """Change brightness, contrast or saturation of each image, as its number says, in place.

    Each is a blend: with black, with the image's mean gray, with its gray image.  factor, numbers: [B], on the CPU.
    """
    if not len(images):
        return
    if images.shape[1] == 1:
        factor = factor.masked_fill(numbers == SATURATION, 1)
    gray = luma(images)
    shares = _columns(torch.stack([numbers == CONTRAST, numbers == SATURATION]), images).view(2, -1, 1, 1, 1)
    other = (gray * shares[1]).addcmul_(gray.mean((1, 2, 3), keepdim=True), shares[0])
    factor = _columns(factor, images)
    torch.addcmul(other.mul_(1 - factor), images, factor, out=images).clamp_(0, 1)


def _columns(values: Tensor, images: Tensor) -> Tensor:
    """Return values [B] as [B, 1, 1, 1], of the images' type and on their device."""
    return on_device(values, images.device, images.dtype).view(-1, 1, 1, 1)


def luma(images: Tensor) -> Tensor:
    """Return the gray images [B, 1, H, W] of images [B, C, H, W]."""
    if images.shape[1] == 1:
        return images
    red, green, blue = torch.split(images, 1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _hue(images: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue of HSV by some turns: on its hexagon red is at 0, green at 2 and blue at 4, and a turn is 6."""
    red, green, blue = torch.split(images, 1, 1)
    low, high = red.minimum(green).minimum(blue), red.maximum(green).maximum(blue)  # a third of aminmax's time
    chroma = high - low
    scaled = chroma.masked_fill(chroma == 0, 1)  # a gray pixel has no hue: any will do
    # `lerp` with weight 0 or 1 chooses exactly; `where` takes three times as long on a CPU.
    hue = ((red - green) / scaled + 4).lerp((blue - red) / scaled + 2, (high == green).to(scaled))
    hue = hue.lerp((green - blue) / scaled, (high == red).to(scaled)) + turns * 6
    away = hue - torch.arange(0, 6, 2, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    away = (away - (away / 6).round_() * 6).abs_()
    return torch.addcmul(low, chroma, (2 - away).clamp_(0, 1))


def grayscale(images: Tensor, draw: Draw, p: float = 0.2) -> Tensor:
    """Make images gray, each with probability p; the number of channels stays, and all become equal."""
    return _on(draw.bernoulli(p), images, lambda group, rows: luma(group).expand_as(group))


def gaussian_blur(images: Tensor, draw: Draw, p: float = 1.0, sigma: tuple[float, float] = (0.1, 2.0)) -> Tensor:
    """Blur images, each with probability p and its own standard deviation, uniform between the bounds, in pixels."""
    chosen, sigmas = draw.bernoulli(p), draw.uniform(*sigma)
    return _on(chosen, images, lambda group, rows: blurred(group, sigmas[rows]))


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image with a Gaussian of its own standard deviation, in pixels.

    sigma: [B].  Images are padded by reflection at the centres of their border pixels, once at each side. The Gaussian
    is not truncated; torchvision's is, at its kernel's size.
    """
    sigma = on_device(sigma, images.device, images.dtype)
    return _filtered(images, *(_gaussian_weights(sigma, size) for size in images.shape[2:]))


def _gaussian_weights(sigma: Tensor, size: int) -> Tensor:
    """Return the weight of each pixel of a line in each pixel of its blurred copy: [B, size (new), size (old)]."""
    places = torch.arange(1 - size, 2 * size - 1, device=sigma.device)
    bell = torch.exp(-0.5 * (places / sigma.unsqueeze(1)).square())
    # Windows of one line of values, so that no value is computed or looked up twice.
    weights = bell[:, : 2 * size - 1].unfold(1, size, 1).flip(2)  # of i - j
    half = bell[:, size - 1 :]
    weights[:, :, 1:] += half.unfold(1, size, 1)[:, :, 1:]  # of i + j: pixel j's reflection before the first one
    weights[:, :, :-1] += half.flip(1).unfold(1, size, 1)[:, :, :-1]  # and that after the last one
    return weights / weights.sum(2, keepdim=True)


def solarise(images: Tensor, draw: Draw, p: float, threshold: float = 0.5) -> Tensor:
    """Invert the pixels at or above a threshold, in each image with probability p."""
    return _on(draw.bernoulli(p), images, lambda group, rows: torch.where(group >= threshold, 1 - group, group))


def _on(chosen: Tensor, images: Tensor, change: Change) -> Tensor:
    """Change the chosen images and leave the others as they are.

    chosen: bool [B], on the CPU, so that nothing waits for the device.
    """
    rows = torch.nonzero(chosen).squeeze(1)
    if len(rows) == len(images):
        return change(images, rows)
    return (
        _put(images, rows, change(images.index_select(0, on_device(rows, images.device)), rows))
        if len(rows)
        else images
    )


def _put(images: Tensor, rows: Tensor, changed: Tensor) -> Tensor:
    """Return the images with some rows (int64, on the CPU) replaced by their changed images."""
    return images.index_copy(0, on_device(rows, images.device), changed)
