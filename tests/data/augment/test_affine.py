"""Affine transformations and their inverses."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from raysl.data.augment.affine import ROTATION, SCALE, SHEAR, SHIFT, drawn_matrices, identities, inverse, restored
from raysl.data.augment.affine import transformed as transform
from raysl.data.augment.views import Draw


def draw(rank: int = 0, ranks: int = 1, size: int = 400) -> Draw:
    return Draw(0, 0, 0, "view", np.arange(rank, size, ranks), size)


def smooth_maps(count: int, edge: int) -> Tensor:
    """Return maps [count, 2, edge, edge] that are linear in x and y: bilinear interpolation is exact on them."""
    line = (torch.arange(edge) + 0.5) / edge
    x, y = line.view(1, -1), line.view(-1, 1)
    return torch.stack([0.3 + x + 2 * y, 1.5 - x + 0.5 * y]).repeat(count, 1, 1, 1)


def test_shift_by_whole_cells_is_undone_exactly() -> None:
    maps = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    matrices = torch.tensor([[[1.0, 0.0, 2 * 2 / 8], [0.0, 1.0, -2 * 1 / 8]]])
    moved = transform(maps, matrices)  # two cells to the left, one down
    assert torch.equal(moved[..., 1:, :6], maps[..., :7, 2:])
    assert moved[..., 0, :].abs().max() == 0
    found, valid = restored(moved, matrices)
    expected = torch.zeros(1, 8, 8, dtype=torch.bool)
    expected[:, :7, 2:] = True
    assert torch.equal(valid, expected)
    assert torch.equal(found[..., :7, 2:], maps[..., :7, 2:])


@pytest.mark.parametrize("edge", [7, 24])
def test_inverse_gives_smooth_maps_back_where_they_are_valid(edge: int) -> None:
    matrices = drawn_matrices(draw())
    maps = smooth_maps(len(matrices), edge)
    found, valid = restored(transform(maps, matrices), matrices)
    shown = valid.unsqueeze(1).expand_as(maps)
    torch.testing.assert_close(found[shown], maps[shown], rtol=0, atol=1e-5)
    assert 0.5 < valid.float().mean() < 0.95
    # What is excluded was mixed with what lies outside.
    assert (found - maps).abs()[~shown].max() > 0.1


def test_identity_changes_nothing_and_leaves_every_pixel_valid() -> None:
    maps = torch.rand(3, 2, 24, 24)
    for matrices in (identities(3), drawn_matrices(draw(size=3), p=0.0)):
        torch.testing.assert_close(matrices, identities(3), rtol=0, atol=0)
        torch.testing.assert_close(transform(maps, matrices), maps, rtol=0, atol=1e-5)
        found, valid = restored(maps, matrices)
        torch.testing.assert_close(found, maps, rtol=0, atol=1e-5)
        assert valid.all()


def test_matrices_are_drawn_one_by_one_within_their_bounds() -> None:
    matrices = drawn_matrices(draw(size=4000))
    forward = inverse(matrices)
    a, b, x, c, d, y = forward.flatten(1).unbind(1)
    scale, turn = torch.hypot(a, c), torch.atan2(c, a)
    slant = torch.atan2(a * b + c * d, a * d - b * c)
    for values, bound in (
        (scale.log(), math.log(SCALE)),
        (turn, ROTATION),
        (slant, SHEAR),
        (x, 2 * SHIFT),
        (y, 2 * SHIFT),
    ):
        assert (values.abs() < 1e-5).float().mean().item() == pytest.approx(0.5, abs=0.05)
        assert values.min().item() == pytest.approx(-bound, rel=0.05)
        assert values.max().item() == pytest.approx(bound, rel=0.05)
    torch.testing.assert_close(inverse(forward), matrices)
    for rank in range(2):
        assert torch.equal(drawn_matrices(draw(rank, 2)), drawn_matrices(draw())[rank::2])


def test_a_quarter_turn_is_that_of_rot90() -> None:
    maps = torch.rand(1, 1, 8, 8)
    matrices = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])  # x shows -y, y shows x
    torch.testing.assert_close(transform(maps, matrices), torch.rot90(maps, 1, (2, 3)))
