"""Views of a batch of images: parameters drawn per sample, applied to all at once on the images' device."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysl.data.augment.transfer import on_device


class Draw:
    """The random parameters of one view of one batch.

    Every parameter is drawn on the CPU for the whole global batch, from a generator seeded by (seed, epoch, step,
    name), and this rank's rows are taken from it: any number of ranks, on any device, sees the same views.
    positions: int64 [B], indices of this rank's rows in the global batch of `size` rows (see `sampling.batches.Batch`).
    """

    def __init__(self, seed: int, epoch: int, step: int, name: str, positions: NDArray[np.int64], size: int) -> None:
        facts = hashlib.blake2b(repr((seed, epoch, step, name)).encode(), digest_size=16).digest()
        self._generator = np.random.Generator(np.random.Philox(key=np.frombuffer(facts, np.uint64)))
        self._positions = positions
        self._size = size

    def integers(self, high: int) -> Tensor:
        """Return int64 [B] in 0 .. high - 1."""
        return self._own(self._generator.integers(high, size=self._size))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 [B] between low and high."""
        return self.uniforms(1, low, high)[0]

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return float32 [count, B], the same as `count` calls of `uniform` in a row."""
        drawn = self._generator.random((count, self._size), np.float32)
        return torch.from_numpy(drawn[:, self._positions]) * (high - low) + low

    def normal(self, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Return float32 [B], normally distributed."""
        return self._own(self._generator.standard_normal(self._size, np.float32)) * std + mean

    def normals(self, count: int) -> Tensor:
        """Return float32 [B, count], each row standard normally distributed."""
        return self._own(self._generator.standard_normal((self._size, count), np.float32))

    def bernoulli(self, p: float) -> Tensor:
        """Return bool [B], each True with probability p."""
        return self._own(self._generator.random(self._size) < p)

    def groups(self, most: int) -> Tensor:
        """Return int64 [B], the number of each row's group from 0: random groups of the global batch, of even size.

        There are as many as given, or fewer, so that each has two rows at least.
        """
        count = max(1, min(most, self._size // 2))
        return self._own(self._generator.permutation(self._size) * count // self._size)

    def shared_uniform(self) -> Tensor:
        """Return float32 [B], one number between 0 and 1 for all rows of the global batch."""
        return self._own(np.full(self._size, self._generator.random(dtype=np.float32), np.float32))

    def _own(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values[self._positions])


def identity(images: Tensor, draw: Draw) -> tuple[Tensor, None]:
    """Return the images as they are."""
    return images, None


def rotated(images: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Turn each image by a drawn number of quarter turns, counter-clockwise (`torch.rot90`).

    images: [B, C, S, S].  Returns the same shape, and the numbers of turns, int64 [B] in 0..3 on the images' device
    (RotNet, Gidaris et al. 2018, with one random rotation per image).
    """
    turns = draw.integers(4)
    views = torch.empty_like(images)
    for number in range(4):
        # Grouped on the CPU, where the turns were drawn, so that nothing waits for the device.
        chosen = torch.nonzero(turns == number).squeeze(1)
        rows = on_device(chosen, images.device)
        views[rows] = torch.rot90(images[rows], number, (2, 3))
    return views, on_device(turns, images.device)


def rotated_copies(images: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Show each image at all four quarter turns, counter-clockwise.

    images: [B, C, S, S].  Returns [4 B, C, S, S], the four turns of an image next to one another, and the numbers of
    turns, int64 [4 B], on the images' device (RotNet, Gidaris et al. 2018).
    """
    turns = torch.arange(4, device=images.device)
    views = torch.stack([torch.rot90(images, number, (2, 3)) for number in range(4)], dim=1)
    return views.flatten(0, 1), turns.repeat(len(images))
