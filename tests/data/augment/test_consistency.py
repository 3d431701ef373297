"""Weak and strong views: what is moved where, how often, and what follows what."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from raysl.data.augment.consistency import strong, weak
from raysl.data.augment.randaugment import cutout, randaugment
from raysl.data.augment.views import Draw

MANY = 20_000


def draw(size: int, positions: slice = slice(None), step: int = 0) -> Draw:
    return Draw(3, 1, step, "view", np.arange(size)[positions], size)


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 8, 8), (3, 16, 24)])
def test_a_weak_view_is_a_crop_of_the_padded_image_and_its_mirror_image(channels: int, height: int, width: int) -> None:
    images = torch.rand(300, channels, height, width, generator=torch.Generator().manual_seed(0))
    given = images.clone()
    views, nothing = weak(images, draw(300))
    assert nothing is None
    down, right = height // 8, width // 8
    padding = ((0, 0), (down, down), (right, right))
    seen = set()
    for image, view in zip(images.numpy(), views.numpy(), strict=True):
        found = [
            (flip, top, left)
            for flip in (False, True)
            for padded in [np.pad(image[:, :, ::-1] if flip else image, padding, mode="reflect")]
            for top in range(2 * down + 1)
            for left in range(2 * right + 1)
            if np.array_equal(padded[:, top : top + height, left : left + width], view)
        ]
        assert len(found) == 1
        seen |= set(found)
    mirrored, tops, lefts = (set(values) for values in zip(*seen, strict=True))
    assert mirrored == {False, True}
    assert (tops, lefts) == (set(range(2 * down + 1)), set(range(2 * right + 1)))
    assert torch.equal(images, given)
    assert torch.equal(weak(images.to(memory_format=torch.channels_last), draw(300))[0], views)


def test_shifts_are_whole_pixels_evenly_spread_and_half_of_the_images_are_mirrored() -> None:
    # The values say where a pixel was: its column and, in hundreds, its row.
    places = (torch.arange(16.0).unsqueeze(1) * 100 + torch.arange(16.0)).view(1, 1, 16, 16)
    views = weak(places.expand(MANY, -1, -1, -1), draw(MANY))[0]
    middle = views[:, 0, 8, 8].long()
    mirrored = views[:, 0, 8, 9] < views[:, 0, 8, 8]
    rows, columns = middle // 100 - 8, torch.where(mirrored, 15 - middle % 100, middle % 100) - 8
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.015)
    for shifts in (rows, columns):
        values, counts = shifts.unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert counts.tolist() == pytest.approx([MANY / 5] * 5, rel=0.06)
    drawn = torch.stack([rows.double(), columns.double(), mirrored.double()])
    assert (torch.corrcoef(drawn) - torch.eye(3)).abs().max() < 0.03


@pytest.mark.parametrize("edge", [16, 64])
def test_a_strong_view_is_a_weak_one_that_is_augmented_and_cut(edge: int) -> None:
    images = torch.rand(40, 3, edge, edge, generator=torch.Generator().manual_seed(0))
    drawn = draw(40)
    expected = cutout(randaugment(weak(images, drawn)[0], drawn), drawn)
    given = images.clone()
    found, nothing = strong(images, draw(40))
    assert nothing is None
    assert torch.equal(found, expected)
    assert torch.equal(images, given)


@pytest.mark.parametrize("view", [weak, strong])
@pytest.mark.parametrize("positions", [slice(0, None, 2), slice(1, None, 2), slice(3, 4), slice(0)])
def test_a_rank_sees_its_rows_of_the_whole_batchs_views(
    view: Callable[[Tensor, Draw], tuple[Tensor, None]], positions: slice
) -> None:
    images = torch.rand(23, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = view(images, draw(23))[0]
    torch.testing.assert_close(view(images[positions], draw(23, positions))[0], whole[positions], rtol=0, atol=1e-6)
    assert not torch.equal(view(images, draw(23, step=1))[0], whole)
