"""Draws that any number of ranks share, and rotations."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from raysl.data.augment.views import Draw, identity, rotated, rotated_copies


def draw(step: int = 3, name: str = "view", rank: int = 0, world_size: int = 1, size: int = 11) -> Draw:
    return Draw(5, 2, step, name, np.arange(rank, size, world_size), size)


PARAMETERS: dict[str, Callable[[Draw], Tensor]] = {
    "integers": lambda drawn: drawn.integers(7),
    "uniform": lambda drawn: drawn.uniform(-1.0, 3.0),
    "uniforms": lambda drawn: drawn.uniforms(3, -1.0, 3.0).T,
    "normal": lambda drawn: drawn.normal(1.0, 2.0),
    "normals": lambda drawn: drawn.normals(3),
    "bernoulli": lambda drawn: drawn.bernoulli(0.4),
    "shared_uniform": lambda drawn: drawn.shared_uniform(),
}


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_ranks_together_draw_what_one_draws(parameter: str, world_size: int) -> None:
    whole = draw()
    expected = [PARAMETERS[parameter](whole), whole.uniform()]
    for rank in range(world_size):
        shard = draw(rank=rank, world_size=world_size)
        assert torch.equal(PARAMETERS[parameter](shard), expected[0][rank::world_size])
        assert torch.equal(shard.uniform(), expected[1][rank::world_size])  # the next parameter too


@pytest.mark.parametrize("size", [1, 11])
def test_many_draws_at_once_are_those_of_one_after_the_other(size: int) -> None:
    plain, at_once = draw(size=size), draw(size=size)
    expected = torch.stack([plain.uniform(-1.0, 3.0) for _ in range(5)])
    assert torch.equal(at_once.uniforms(5, -1.0, 3.0), expected)
    assert torch.equal(at_once.uniform(), plain.uniform())  # and so is the next one


def test_seed_epoch_step_and_name_each_change_the_draw() -> None:
    keys = [(seed, epoch, step, name) for seed in (0, 1) for epoch in (0, 1) for step in (0, 1) for name in "ab"]
    draws = {tuple(Draw(*key, np.arange(8), 8).uniform().tolist()) for key in keys}
    assert len(draws) == len(keys)


def test_parameters_have_their_distributions_and_types() -> None:
    many = Draw(0, 0, 0, "view", np.arange(40_000), 40_000)
    integers, uniform, normal, bernoulli = (
        many.integers(4),
        many.uniform(2.0, 6.0),
        many.normal(1.0, 3.0),
        many.bernoulli(0.2),
    )
    assert [drawn.dtype for drawn in (integers, uniform, normal, bernoulli)] == [
        torch.int64,
        torch.float32,
        torch.float32,
        torch.bool,
    ]
    assert torch.bincount(integers).tolist() == pytest.approx([10_000] * 4, rel=0.05)
    assert (uniform.min(), uniform.max(), uniform.mean()) == pytest.approx((2.0, 6.0, 4.0), abs=0.03)
    assert (normal.mean(), normal.std()) == pytest.approx((1.0, 3.0), abs=0.06)
    assert bernoulli.float().mean() == pytest.approx(0.2, abs=0.01)


def test_rows_of_normal_numbers_are_independent_and_standard() -> None:
    rows = Draw(0, 0, 0, "view", np.arange(20_000), 20_000).normals(3)
    assert (rows.shape, rows.dtype) == ((20_000, 3), torch.float32)
    assert rows.mean(0).tolist() == pytest.approx([0] * 3, abs=0.03)
    assert torch.cov(rows.T).flatten().tolist() == pytest.approx(torch.eye(3).flatten().tolist(), abs=0.04)


def test_a_shared_number_is_drawn_once_for_all_rows_and_evenly() -> None:
    found = [Draw(0, 0, step, "view", np.arange(5), 5).shared_uniform() for step in range(4000)]
    assert {(drawn.dtype, tuple(drawn.shape), len(set(drawn.tolist()))) for drawn in found} == {
        (torch.float32, (5,), 1)
    }
    firsts = torch.stack(found)[:, 0]
    assert (firsts.min(), firsts.max(), firsts.mean()) == pytest.approx((0.0, 1.0, 0.5), abs=0.02)
    assert firsts.std() == pytest.approx(12**-0.5, abs=0.01)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rotated_turns_each_image_as_rot90_does(memory_format: torch.memory_format) -> None:
    images = torch.rand(11, 3, 5, 5).to(memory_format=memory_format)
    views, turns = rotated(images, draw())
    assert set(turns.tolist()) == {0, 1, 2, 3}
    for image, view, number in zip(images, views, turns.tolist(), strict=True):
        assert torch.equal(view, torch.rot90(image, number, (1, 2)))
    assert views.is_contiguous(memory_format=memory_format)
    # One quarter turn counter-clockwise: the right column comes on top.
    assert torch.equal(views[turns == 1][:, :, 0], images[turns == 1][:, :, :, -1])


def test_ranks_rotate_as_one_does() -> None:
    images = torch.rand(11, 1, 4, 4)
    views, turns = rotated(images, draw())
    for rank in range(2):
        own_views, own_turns = rotated(images[rank::2], draw(rank=rank, world_size=2))
        assert torch.equal(own_views, views[rank::2])
        assert torch.equal(own_turns, turns[rank::2])


def test_an_empty_shard_is_rotated() -> None:
    views, turns = rotated(torch.rand(0, 1, 4, 4), draw(rank=2, world_size=3, size=2))
    assert views.shape == (0, 1, 4, 4)
    assert turns.shape == (0,)


def test_rotated_copies_stand_next_to_one_another() -> None:
    images = torch.rand(3, 2, 4, 4)
    views, turns = rotated_copies(images, draw(size=3))
    assert turns.tolist() == [0, 1, 2, 3] * 3
    for row, view in enumerate(views):
        assert torch.equal(view, torch.rot90(images[row // 4], row % 4, (1, 2)))


def test_identity_changes_nothing() -> None:
    images = torch.rand(2, 1, 4, 4)
    view, drawn = identity(images, draw())
    assert view is images
    assert drawn is None
