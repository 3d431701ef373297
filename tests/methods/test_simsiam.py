"""SimSiam's loss is lightly's, its targets are not trained, and collapse shows."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gloo import spawn
from lightly.loss import NegativeCosineSimilarity
from steps import FIRST
from torch import Tensor, nn

from raysl.collectives import rank
from raysl.data.augment.siamese import distorted
from raysl.data.augment.views import Draw
from raysl.methods._method import View
from raysl.methods.simsiam import Simsiam, build_predictor, build_projector, embedding_spread, siamese_loss
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {"projector": 2048, "predictor": 512, "min_crop": 0.2, "p_blur": 0.0, "interpolation": "bicubic"}
SHAPES_LOSS = ["projector", "min_crop", "interpolation", "p_blur"]
IMPOSSIBLE = [{"projector": 1}, {"predictor": 0}, {"min_crop": 0.0}, {"p_blur": 1.1}, {"interpolation": "nearest"}]
SHARES = {"even": 6, "uneven": 9, "empty": 12}  # name -> how many of 12 rows are on rank 0


def method(**hyperparameters: Any) -> Simsiam:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return Simsiam(encoder, 3, **{"projector": 24, "predictor": 8, **hyperparameters})


def batch() -> dict[str, View]:
    generator = torch.Generator().manual_seed(0)
    return {name: View(torch.rand(10, 1, 8, 8, generator=generator), None, None) for name in ("first", "second")}


def embeddings(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return z1, z2, p1 and p2, of lengths far from 1."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(12, 7, generator=generator, dtype=dtype).mul_(3).requires_grad_() for _ in range(4)]


def test_loss_and_gradient_are_those_of_lightly() -> None:
    z1, z2, p1, p2 = embeddings()
    found = siamese_loss(z1, z2, p1, p2)
    criterion = NegativeCosineSimilarity()
    expected = 0.5 * (criterion(p1, z2.detach()) + criterion(p2, z1.detach()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(loss, (p1, p2)) for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


def test_loss_by_hand() -> None:
    # Angles of 60 and 90 degrees: cosines 1/2 and 0.
    z2, p1 = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5 * 3**0.5]])
    z1, p2 = torch.tensor([[0.0, 3.0]]), torch.tensor([[5.0, 0.0]])
    assert siamese_loss(z1, z2, p1, p2).item() == pytest.approx(-0.25)
    assert siamese_loss(z1, z2, z2, z1).item() == pytest.approx(-1)
    assert siamese_loss(z1, z2, -z2, -z1).item() == pytest.approx(1)


def test_targets_get_no_gradient() -> None:
    z1, z2, p1, p2 = embeddings()
    siamese_loss(z1, z2, p1, p2).backward()
    assert z1.grad is None
    assert z2.grad is None
    assert p1.grad is not None
    assert p2.grad is not None


def test_projector_learns_through_the_predictor_alone() -> None:
    # Written out with constant targets; with gradients through the targets it would be another one.
    siamese, views = method(), batch()
    siamese(views, FIRST).total.backward()
    found = siamese.projector[0].weight.grad
    other = method()
    z1, z2 = (other.projector(other.encoder(views[name].images)) for name in ("first", "second"))
    predictions, both = [other.predictor(z1), other.predictor(z2)], [z1, z2]

    def gradient(targets: list[Tensor]) -> Tensor:
        loss = -sum(F.cosine_similarity(*pair).mean() for pair in zip(predictions, targets, strict=True)) / 2
        return torch.autograd.grad(loss, other.projector[0].weight, retain_graph=True)[0]

    constant = torch.tensor(z2.tolist()), torch.tensor(z1.tolist())
    torch.testing.assert_close(found, gradient([*constant]))
    assert not torch.allclose(found, gradient(both[::-1]), rtol=0.1)


def test_each_view_predicts_the_other() -> None:
    siamese, views = method().eval(), batch()
    z1, z2 = (siamese.projector(siamese.encoder(views[name].images)) for name in ("first", "second"))
    p1, p2 = siamese.predictor(z1), siamese.predictor(z2)
    expected = -(F.cosine_similarity(p1, z2) + F.cosine_similarity(p2, z1)).mean() / 2
    losses = siamese(views, FIRST)
    torch.testing.assert_close(losses.total, expected)
    assert losses.terms.keys() == {"siamese"}
    assert losses.terms["siamese"] == losses.total
    assert losses.spread == embedding_spread(z1, z2)


def test_projector_and_predictor_are_those_of_the_reference() -> None:
    siamese = Simsiam(build_encoder(ModelSettings(features=40), channels=1, image_size=8), 3)
    shapes = {name: tuple(parameter.shape) for name, parameter in siamese.projector.named_parameters()}
    assert shapes == {
        "0.weight": (40, 40),
        "1.weight": (40,),
        "1.bias": (40,),
        "3.weight": (40, 40),
        "4.weight": (40,),
        "4.bias": (40,),
        "6.weight": (2048, 40),
    }
    kinds = [type(layer).__name__ for layer in siamese.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    last = siamese.projector[-1]
    assert isinstance(last, nn.BatchNorm1d)
    assert not last.affine
    shapes = {name: tuple(parameter.shape) for name, parameter in siamese.predictor.named_parameters()}
    assert shapes == {
        "0.weight": (512, 2048),
        "1.weight": (512,),
        "1.bias": (512,),
        "3.weight": (2048, 512),
        "3.bias": (2048,),
    }
    assert [type(layer).__name__ for layer in siamese.predictor] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]


@pytest.mark.parametrize("name", ["first", "second"])
def test_views_are_those_of_the_paper(name: str) -> None:
    images = torch.rand(40, 3, 12, 12)

    def draw() -> Draw:
        return Draw(0, 0, 0, name, np.arange(40), 40)

    for settings in ({}, {"p_blur": 0.5}, {"min_crop": 0.7}):
        shares = {"min_crop": 0.2, "p_blur": 0.0, **settings}
        expected, _ = distorted(images, draw(), saturation=0.4, p_solarise=0.0, **shares)
        view = method(**settings).views()[name]
        assert view.stream == "unlabelled"
        assert torch.equal(view.make(images, draw())[0], expected)


@pytest.mark.parametrize("p_blur", [0.0, 0.5])
def test_p_blur_is_the_share_of_blurred_views(p_blur: float) -> None:
    # Stripes of one pixel, which any blur levels.
    stripes = (torch.arange(32).view(1, 1, 1, 32) % 2).float().expand(1500, 1, 32, 32)

    def seen(p: float) -> Tensor:
        make = method(p_blur=p, min_crop=1.0).views()["first"].make
        return make(stripes, Draw(0, 0, 0, "first", np.arange(1500), 1500))[0]

    changed = ((seen(p_blur) - seen(0.0)).abs().amax((1, 2, 3)) > 0.01).float().mean()
    assert changed.item() == pytest.approx(p_blur * 0.93, abs=0.05 if p_blur else 0)  # sigmas below 0.23 change nothing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_loss_is_at_least_fp32(dtype: torch.dtype) -> None:
    narrow = [rows.detach().to(dtype) for rows in embeddings(torch.float64)]
    found = siamese_loss(*narrow)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    expected = siamese_loss(*(rows.double() for rows in narrow))
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)
    assert embedding_spread(*narrow[:2]).dtype == found.dtype


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_directions_that_are_all_alike_in_number_have_a_spread_of_one(scale: float) -> None:
    z = scale * torch.randn(2, 4000, 64, generator=torch.Generator().manual_seed(0))
    assert embedding_spread(*z).item() == pytest.approx(1, abs=0.01)


def test_spread_by_hand() -> None:
    # Unit rows (1, 0), (0, 1): deviations of 1/2 in both dimensions; the second view's are one row: none at all.
    z1, z2 = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    assert embedding_spread(z1, z1).item() == pytest.approx(0.5 * 2**0.5)
    assert embedding_spread(z1, z2).item() == pytest.approx(0.25 * 2**0.5)


def test_collapsed_embeddings_have_no_spread() -> None:
    constant = torch.randn(1, 64).expand(100, -1)
    assert embedding_spread(constant, constant * 3).item() == pytest.approx(0, abs=1e-5)
    assert embedding_spread(torch.zeros(100, 64), torch.zeros(100, 64)) == 0


def test_features_that_differ_by_rounding_have_no_spread() -> None:
    # Batch normalisation enlarges the rounding, and its direction is any.
    norm = nn.BatchNorm1d(64, affine=False)
    torch.manual_seed(0)
    z = norm(torch.randn(64) * (1 + 1e-7 * torch.randn(200, 64)))
    assert embedding_spread(z, z) < 0.05


def test_spread_falls_without_the_stop_and_not_with_it() -> None:
    def train(stop: bool) -> float:
        torch.manual_seed(0)
        projector, predictor = build_projector(16, 32), build_predictor(32, 8)
        optimizer = torch.optim.SGD([*projector.parameters(), *predictor.parameters()], lr=0.1, momentum=0.9)
        images = torch.randn(128, 16)
        for _ in range(150):
            z1, z2 = (projector(images + torch.randn(128, 16)) for _ in range(2))
            p1, p2 = predictor(z1), predictor(z2)
            without = -(F.cosine_similarity(p1, z2) + F.cosine_similarity(p2, z1)).mean() / 2
            optimizer.zero_grad()
            (siamese_loss(z1, z2, p1, p2) if stop else without).backward()
            optimizer.step()
        return embedding_spread(z1, z2).item()

    assert train(stop=True) > 0.9
    assert train(stop=False) < 0.5  # down to 2 / sqrt(128) = 0.18


def on_each_rank() -> dict[str, Any]:
    found = {}
    for name, cut in SHARES.items():
        mine = slice(None, cut) if rank() == 0 else slice(cut, None)
        z1, z2, *_ = (rows.detach()[mine] for rows in embeddings(torch.float64))
        found[name] = embedding_spread(z1, z2)
    return found


def test_spread_over_two_ranks_is_that_of_one_process() -> None:
    z1, z2, *_ = embeddings(torch.float64)
    expected = embedding_spread(z1, z2)
    assert not expected.requires_grad
    for found in spawn(on_each_rank):
        torch.testing.assert_close(found, dict.fromkeys(SHARES, expected))
