"""NT-Xent is lightly's, in loss and gradient, on one process and over ranks."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn
from lightly.loss import NTXentLoss
from steps import FIRST
from torch import Tensor

from raysl.collectives import mean_over_ranks, rank, world_size
from raysl.data.augment.siamese import distorted
from raysl.data.augment.views import Draw
from raysl.methods._method import View
from raysl.methods.simclr import Simclr, nt_xent_loss
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {"temperature": 0.2, "projector": 1024, "min_crop": 0.2, "interpolation": "bicubic"}
SHAPES_LOSS = ["temperature", "projector", "min_crop", "interpolation"]
IMPOSSIBLE = [{"temperature": 0.0}, {"projector": 1}, {"min_crop": 0.0}, {"interpolation": "nearest"}]
GLOBAL_SIZES = (8, 9, 1)  # over two ranks 4 + 4 rows, 5 + 4, and 1 + 0
TEMPERATURES = (0.2, 1.5)


def method(**hyperparameters: Any) -> Simclr:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return Simclr(encoder, 3, **{"projector": 24, **hyperparameters})


def batch() -> dict[str, View]:
    generator = torch.Generator().manual_seed(0)
    return {name: View(torch.rand(10, 1, 8, 8, generator=generator), None, None) for name in ("first", "second")}


def embeddings(size: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return two views' embeddings, of lengths far from 1; those of an image are somewhat alike."""
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(3, size, 7, generator=generator, dtype=dtype)
    return both[0] + both[1], 3 * (both[0] + both[2])


def loss_and_gradients(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the loss of the global batch and this rank's share of its gradient, as DDP makes them of the ranks'."""
    leaves = [rows.clone().requires_grad_() for rows in (first, second)]
    loss = nt_xent_loss(*leaves, temperature)
    gradients = torch.autograd.grad(loss, leaves)
    return mean_over_ranks(loss), torch.stack(gradients, 1) / world_size()


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_loss_and_gradient_are_those_of_lightly(temperature: float) -> None:
    first, second = embeddings(8, torch.float64)
    found = loss_and_gradients(first, second, temperature)
    leaves = first.requires_grad_(), second.requires_grad_()
    expected = NTXentLoss(temperature)(*leaves)
    torch.testing.assert_close(found, (expected.detach(), torch.stack(torch.autograd.grad(expected, leaves), 1)))


def on_each_rank() -> dict[str, Any]:
    found = {}
    for size in GLOBAL_SIZES:
        for temperature in TEMPERATURES:
            mine = (rows[rank() :: world_size()] for rows in embeddings(size, torch.float64))
            found[f"{size} {temperature}"] = loss_and_gradients(*mine, temperature)
    return found


def test_two_ranks_equal_one_process() -> None:
    for number, found in enumerate(spawn(on_each_rank)):
        for size in GLOBAL_SIZES:
            for temperature in TEMPERATURES:
                loss, gradient = loss_and_gradients(*embeddings(size, torch.float64), temperature)
                torch.testing.assert_close(found[f"{size} {temperature}"], (loss, gradient[number::2]))


def test_loss_by_hand() -> None:
    # Of each of the four embeddings: its pair, of cosine 1/2 or 0, and two of other images.
    first, second = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.5, 0.5 * 3**0.5], [5.0, 0.0]])
    high = 3**0.5 / 2
    pairs = {(0, 2): 0.5, (1, 3): 0.0, (0, 1): 0.0, (0, 3): 1.0, (1, 2): high, (2, 3): 0.5}
    cosines = pairs | {(j, i): cosine for (i, j), cosine in pairs.items()}
    temperature = 0.25
    losses = []
    for i, j in ((0, 2), (2, 0), (1, 3), (3, 1)):
        others = sum(math.exp(cosines[i, k] / temperature) for k in range(4) if k != i)
        losses.append(-math.log(math.exp(cosines[i, j] / temperature) / others))
    assert nt_xent_loss(first, second, temperature).item() == pytest.approx(sum(losses) / 4)


def test_loss_of_views_that_are_equal_and_images_that_are_not() -> None:
    # log(e^(1/T) + 2B - 2) - 1/T: an embedding itself counts neither as its pair nor among the others.
    images = torch.eye(5)
    assert nt_xent_loss(images, images, 0.5).item() == pytest.approx(math.log(math.exp(2) + 8) - 2)


def test_loss_of_a_collapse_is_that_of_a_guess() -> None:
    assert nt_xent_loss(torch.ones(6, 3), torch.ones(6, 3), 0.2).item() == pytest.approx(math.log(11))


def test_loss_knows_neither_the_order_of_images_nor_lengths_nor_which_view_is_first() -> None:
    first, second = embeddings(8)
    expected = nt_xent_loss(first, second, 0.2)
    order = torch.randperm(8)
    torch.testing.assert_close(nt_xent_loss(first[order], second[order], 0.2), expected)
    lengths = torch.rand(8, 1) + 0.1
    torch.testing.assert_close(nt_xent_loss(first * lengths, second / lengths, 0.2), expected)
    torch.testing.assert_close(nt_xent_loss(second, first, 0.2), expected)
    assert not torch.allclose(nt_xent_loss(first, second[order], 0.2), expected, rtol=0.01)  # pairs are pairs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_loss_is_at_least_fp32(dtype: torch.dtype) -> None:
    narrow = [rows.to(dtype) for rows in embeddings(8, torch.float64)]
    with torch.autocast("cpu", torch.bfloat16):
        found = nt_xent_loss(*narrow, 0.2)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = nt_xent_loss(*(rows.double() for rows in narrow), 0.2)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_loss_is_that_of_the_projections_of_both_views(temperature: float) -> None:
    simclr, views = method(temperature=temperature).eval(), batch()
    z1, z2 = (simclr.projector(simclr.encoder(views[name].images)) for name in ("first", "second"))
    losses = simclr(views, FIRST)
    torch.testing.assert_close(losses.total, NTXentLoss(temperature)(z1, z2))
    assert losses.terms == {"nt_xent": losses.total}
    assert losses.spread is None


def test_projector_has_three_layers_of_one_width() -> None:
    simclr = Simclr(build_encoder(ModelSettings(features=16), channels=1, image_size=8), 3)
    shapes = [tuple(parameter.shape) for parameter in simclr.projector.parameters() if parameter.ndim == 2]
    assert shapes == [(1024, 16), (1024, 1024), (1024, 1024)]


@pytest.mark.parametrize("name", ["first", "second"])
def test_views_are_those_of_the_paper(name: str) -> None:
    images = torch.rand(40, 3, 12, 12)

    def draw() -> Draw:
        return Draw(0, 0, 0, name, np.arange(40), 40)

    for settings in ({}, {"min_crop": 0.7}):
        shares = {"min_crop": 0.2, **settings}
        expected, _ = distorted(images, draw(), saturation=0.4, p_blur=0.0, p_solarise=0.0, **shares)
        view = method(**settings).views()[name]
        assert view.stream == "unlabelled"
        assert torch.equal(view.make(images, draw())[0], expected)
