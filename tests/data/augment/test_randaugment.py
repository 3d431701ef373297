"""Each image has operations, magnitudes and a square of its own, which any number of ranks draws alike."""

import numpy as np
import pytest
import torch
from torch import Tensor

from raysl.data.augment import randaugment as module
from raysl.data.augment.operations import NAMES, RANGES
from raysl.data.augment.randaugment import augmented, cutout, magnitudes, randaugment
from raysl.data.augment.views import Draw

MANY = 28_000


def draw(size: int, positions: slice = slice(None), step: int = 0) -> Draw:
    return Draw(3, 1, step, "view", np.arange(size)[positions], size)


def images(count: int, channels: int = 3, edge: int = 16) -> Tensor:
    return torch.rand(count, channels, edge, edge, generator=torch.Generator().manual_seed(0))


def layers(drawn: Draw) -> tuple[list[Tensor], list[Tensor]]:
    """Draw two operations and their magnitudes, as `randaugment` does."""
    numbers, values = [], []
    for _ in range(2):
        numbers.append(drawn.integers(14))
        values.append(magnitudes(numbers[-1], drawn.uniform()))
    return numbers, values


def test_the_operations_are_those_of_the_papers_table() -> None:
    blends = dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), (0.05, 0.95))
    shifts = dict.fromkeys(("shear_x", "shear_y", "translate_x", "translate_y"), (-0.3, 0.3))
    plain = dict.fromkeys(("auto_contrast", "equalise", "identity"), (0.0, 0.0))
    others = {"posterise": (4.0, 9.0), "rotate": (-30.0, 30.0), "solarise": (0.0, 1.0)}
    assert {**blends, **shifts, **plain, **others} == RANGES


def test_magnitudes_are_evenly_spread_over_their_operations_ranges() -> None:
    drawn = draw(MANY)
    numbers, shares = drawn.integers(14), drawn.uniform()
    found = magnitudes(numbers, shares)
    assert torch.bincount(numbers).tolist() == pytest.approx([MANY / 14] * 14, rel=0.1)
    for place, name in enumerate(NAMES):
        low, high = RANGES[name]
        own = found[numbers == place]
        quantiles = torch.quantile(own, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))
        expected = torch.linspace(low, high, 5, dtype=torch.float64)
        torch.testing.assert_close(quantiles, expected, rtol=0, atol=0.04 * (high - low))
    bits = found[numbers == NAMES.index("posterise")].floor()
    assert bits.unique(return_counts=True)[1].tolist() == pytest.approx([MANY / 14 / 5] * 5, rel=0.2)
    assert magnitudes(torch.tensor([NAMES.index("posterise")]), torch.tensor([1 - 2**-24])) < 9


@pytest.mark.parametrize("edge", [16, 64])  # small images pass one operation at a time, and large ones both
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_passes_the_two_operations_drawn_for_it(channels: int, edge: int) -> None:
    assert (channels * edge**2 > module.LARGE) == (channels * edge == 192)
    batch = images(60, channels, edge)
    before = batch.clone()
    (first, second), (low, high) = layers(draw(60))
    assert len({*zip(first.tolist(), second.tolist(), strict=True)}) > 40
    views = randaugment(batch, draw(60))
    for row in range(60):
        view = augmented(batch[[row]], [first[[row]]], [low[[row]]])
        view = augmented(view, [second[[row]]], [high[[row]]])
        torch.testing.assert_close(views[[row]], view, rtol=0, atol=1e-6)
    assert torch.equal(batch, before)


@pytest.mark.parametrize("edge", [16, 64])
def test_a_square_is_cut_out_after_both_operations(edge: int) -> None:
    drawn = draw(60)
    expected = cutout(randaugment(images(60, 3, edge), drawn), drawn)
    assert torch.equal(randaugment(images(60, 3, edge), draw(60), cut=True), expected)


def test_two_images_of_a_batch_differ_in_their_operations() -> None:
    views = randaugment(images(1).expand(64, -1, -1, -1), draw(64))
    assert len(views.unique(dim=0)) > 50
    assert not torch.equal(views, randaugment(images(1).expand(64, -1, -1, -1), draw(64, step=1)))


@pytest.mark.parametrize("edge", [16, 64])
@pytest.mark.parametrize("positions", [slice(0, None, 2), slice(1, None, 2), slice(4, 5), slice(0)])
def test_a_rank_sees_its_rows_of_the_whole_batchs_views(positions: slice, edge: int) -> None:
    batch = images(31, 3, edge)
    whole = randaugment(batch, draw(31), cut=True)
    part = randaugment(batch[positions], draw(31, positions), cut=True)
    torch.testing.assert_close(part, whole[positions], rtol=0, atol=1e-6)


@pytest.mark.parametrize("edge", [16, 64])
def test_views_stay_in_range_and_do_not_depend_on_the_layout_in_memory(edge: int) -> None:
    batch = images(200, 3, edge)
    batch[::5] = (batch[::5] > 0.5).float()
    view = randaugment(batch, draw(200), cut=True)
    assert view.shape == batch.shape
    assert view.dtype == batch.dtype
    assert view.min() >= 0
    assert view.max() <= 1
    assert torch.equal(randaugment(batch.to(memory_format=torch.channels_last), draw(200), cut=True), view)


@pytest.mark.parametrize("edge", [8, 32, 11])
def test_cut_squares_have_half_the_edge_and_centres_anywhere(edge: int) -> None:
    count, half = 4000, round(edge / 2)
    white = torch.ones(count, 3, edge, edge)
    cut = cutout(white, draw(count))
    assert (white == 1).all()
    assert (cut[:, 0] == cut[:, 1]).all()
    assert (cut[:, 0] == cut[:, 2]).all()
    covered = cut[:, 0] == 0.5
    assert ((cut[:, 0] == 1) | covered).all()
    rows, columns = covered.any(2), covered.any(1)
    assert torch.equal(covered, rows.unsqueeze(2) & columns.unsqueeze(1))
    for line in (rows, columns):
        first, length = line.float().argmax(1), line.sum(1)
        expected = [min(edge, centre - half // 2 + half) - max(0, centre - half // 2) for centre in range(edge)]
        assert torch.bincount(length, minlength=half + 1).tolist() == pytest.approx(
            [count / edge * expected.count(size) for size in range(half + 1)],
            abs=5 * (count / edge) ** 0.5 + 1,
            rel=0.1,
        )
        assert (first[length < half] + length[length < half]).eq(edge).logical_or(first[length < half] == 0).all()
    assert len(covered.unique(dim=0)) == edge**2 if edge < 30 else len(covered.unique(dim=0)) > 900
    assert abs(np.corrcoef(rows.sum(1), columns.sum(1))[0, 1]) < 0.06
