"""RandAugment as FixMatch has it, and cutout: what its strong view adds to the weak one, as batched tensor operations.

Sohn et al. 2020 (FixMatch, arXiv:2001.07685), section 2.3 and the appendix's table of transformations. Images are float
[B, C, H, W] in [0, 1] with C = 1 or 3, and so are the results. Parameters are drawn on the CPU through `Draw`; images
stay on their device.

Readings: each image has two operations of its own, drawn with replacement, and both apply; magnitudes are continuous
and uniform in the table's ranges. The authors' code (google-research/fixmatch, `AugmentPoolRAM`) skips each operation
with probability 1/2 and has nine levels of magnitudes. As there, gray fills what an operation uncovers, and operations
are those of PIL: a moved pixel is the nearest one, and a shear leaves the first row or column where it is.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from raysl.data.augment.operations import FILL, NAMES, POINTWISE, RANGES, moved, moves
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw

NUM_OPERATIONS = 2  # of each image
CUT = 0.5  # edge of the square that is cut out, as a share of the image's
LARGE = 1 << 13  # values of an image: if it has more, a CPU's time goes into reading and writing it, and not into calls

Squares = tuple[Tensor, Tensor]  # which rows, [B, 1, H, 1], and which columns, [B, 1, 1, W], they cover
Call = tuple[Callable[[Tensor, Any], Tensor], Any]  # an operation, and its parameters for a group of images


def randaugment(images: Tensor, draw: Draw, *, cut: bool = False) -> Tensor:
    """Apply two drawn operations to each image, one after the other, with drawn magnitudes.

    cut: whether `cutout` follows, in the same pass over the images.
    """
    numbers, values = [], []
    for _ in range(NUM_OPERATIONS):
        numbers.append(draw.integers(len(NAMES)))
        values.append(magnitudes(numbers[-1], draw.uniform()))
    squares = _squares(draw, *images.shape[2:]) if cut else None
    if images.device.type == "cpu" and math.prod(images.shape[1:]) > LARGE:
        # Many small groups of images, each read and written once; otherwise few large ones, once for each operation.
        return augmented(images, numbers, values, squares)
    places = torch.arange(len(images))
    for operation in range(NUM_OPERATIONS - 1):
        images, places = _grouped(images, places, numbers[operation : operation + 1], values[operation : operation + 1])
    images, places = _grouped(images, places, numbers[-1:], values[-1:], squares)
    return images.index_select(0, on_device(places, images.device))


def magnitudes(numbers: Tensor, shares: Tensor) -> Tensor:
    """Return the magnitudes at some shares, [B] in [0, 1), of their operations' ranges: float64 [B].

    numbers: int64 [B], places in `NAMES`.
    """
    bounds = torch.tensor([RANGES[name] for name in NAMES], dtype=torch.float64)[numbers]
    return torch.lerp(bounds[:, 0], bounds[:, 1], shares.double())


def augmented(
    images: Tensor, numbers: Sequence[Tensor], magnitudes: Sequence[Tensor], squares: Squares | None = None
) -> Tensor:
    """Apply operations to each image, one after the other, and then cut its square out.

    numbers: of each operation, int64 [B], places in `NAMES`.  magnitudes: of each operation, float64 [B].  All are on
    the CPU, where images are grouped by their operations, so that nothing waits for the device.
    """
    changed, places = _grouped(images, torch.arange(len(images)), numbers, magnitudes, squares)
    return changed.index_select(0, on_device(places, images.device))


def _grouped(
    images: Tensor,
    places: Tensor,
    numbers: Sequence[Tensor],
    magnitudes: Sequence[Tensor],
    squares: Squares | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what `augmented` does, in the order of the groups, and the place of each image there.

    places: int64 [B], where each image is among `images`.
    """
    keys = torch.zeros_like(numbers[0])
    for own in numbers:
        keys = keys * len(NAMES) + own.clamp(max=len(POINTWISE))  # all that move pixels are done as one
    order = keys.argsort(stable=True)
    _, counts = torch.unique_consecutive(keys[order], return_counts=True)
    firsts, sizes = order[counts.cumsum(0) - counts], counts.tolist()
    steps = [
        _calls(own[firsts].tolist(), own[order], drawn[order], sizes, images)
        for own, drawn in zip(numbers, magnitudes, strict=True)
    ]
    if squares is not None:
        sides = (torch.split(on_device(side[order], images.device, images.dtype), sizes) for side in squares)
        steps.append([(_filled, square) for square in zip(*sides, strict=True)])
    changed, done = torch.empty(images.shape, dtype=images.dtype, device=images.device), 0
    for rows, *calls in zip(torch.split(on_device(places[order], images.device), sizes), *steps, strict=True):
        group = images.index_select(0, rows)
        for operation, parameters in calls:
            group = operation(group, parameters)
        changed[done : done + len(rows)] = group
        done += len(rows)
    return changed, order.argsort()


def cutout(images: Tensor, draw: Draw) -> Tensor:
    """Fill one square of each image with gray.

    Its edge is half the image's; its centre is anywhere in the image, and what lies outside is clipped.
    """
    rows, columns = (on_device(side, images.device, images.dtype) for side in _squares(draw, *images.shape[2:]))
    return _filled(images.clone(), (rows, columns))


def _calls(kinds: list[int], numbers: Tensor, magnitudes: Tensor, sizes: list[int], images: Tensor) -> list[Call]:
    """Return the call of each group, of images sorted by group.

    kinds: each group's operation.  numbers, magnitudes: [B], those of the images.
    """
    of_values = torch.split(on_device(magnitudes, images.device, images.dtype).view(-1, 1, 1, 1), sizes)
    of_places = torch.split(
        on_device(moves(numbers, magnitudes, *images.shape[2:]), images.device, images.dtype), sizes
    )
    return [
        (POINTWISE[NAMES[kind]], values) if kind < len(POINTWISE) else (moved, places)
        for kind, values, places in zip(kinds, of_values, of_places, strict=True)
    ]


def _squares(draw: Draw, height: int, width: int) -> Squares:
    edge = round(CUT * min(height, width))
    rows, columns = (_covered(draw, size, edge) for size in (height, width))
    return rows.view(-1, 1, height, 1), columns.view(-1, 1, 1, width)


def _covered(draw: Draw, size: int, edge: int) -> Tensor:
    """Return which places of a line a segment around a drawn centre covers: bool [B, size]."""
    start = (draw.integers(size) - edge // 2).unsqueeze(1)
    places = torch.arange(size)
    return (places >= start) & (places < start + edge)


def _filled(images: Tensor, squares: Squares) -> Tensor:
    covered = squares[0] * squares[1]
    return images.mul_(1 - covered).add_(covered.mul_(FILL))
