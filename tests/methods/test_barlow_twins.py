"""The loss of the reference, over ranks too, its views and its projector.

That a whole step of encoder and projector on two ranks equals one process's is in `test_contract`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn
from lightly.loss import BarlowTwinsLoss
from steps import FIRST
from tiny import of_stages, write
from torch import Tensor, nn

from raysl import methods
from raysl.collectives import mean_over_ranks, rank
from raysl.config import load
from raysl.data.augment import augmentations
from raysl.data.augment.views import Draw
from raysl.data.storage.scan import inspect, resolve
from raysl.methods._method import View
from raysl.methods.barlow_twins import BarlowTwins, barlow_twins_loss, cross_correlation, redundancy
from raysl.methods.semi import Semi
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training.process import Execution
from raysl.training.trial import run_trial

DEFAULTS = {"lambd": 0.0051, "projector": 2048, "min_crop": 0.08, "interpolation": "bicubic"}
SHAPES_LOSS = ["lambd", "projector", "min_crop", "interpolation"]
IMPOSSIBLE = [{"lambd": 0.0}, {"projector": 1}, {"min_crop": 0.0}, {"min_crop": 1.1}, {"interpolation": "nearest"}]
# name -> rows on rank 0 and on rank 1
SHARES = {"even": (4, 4), "uneven": (5, 3), "empty": (8, 0)}


def projections(size: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return two views' projections that agree in part, with means and scales far from 0 and 1."""
    generator = torch.Generator().manual_seed(size)
    base, one, other = torch.randn(3, size, width, generator=generator, dtype=dtype)
    scale = torch.linspace(0.1, 5.0, width, dtype=dtype)
    return (base + 0.5 * one) * scale + 2, (base + 0.5 * other) * scale.flip(0) - 1


def method(**hyperparameters: Any) -> BarlowTwins:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return BarlowTwins(encoder, 3, **{"projector": 24, **hyperparameters})


def batch() -> dict[str, View]:
    generator = torch.Generator().manual_seed(0)
    return {name: View(torch.rand(10, 1, 8, 8, generator=generator), None, None) for name in ("first", "second")}


@pytest.mark.parametrize("lambd", [0.0051, 0.7])
@pytest.mark.parametrize(("size", "width"), [(2, 2), (12, 9), (64, 256)])
def test_loss_and_gradient_are_those_of_lightly(size: int, width: int, lambd: float) -> None:
    totals, gradients = [], []
    for function in (lambda one, other: barlow_twins_loss(one, other, lambd).total, BarlowTwinsLoss(lambd)):
        first, second = (rows.requires_grad_() for rows in projections(size, width))
        total = function(first, second)
        total.backward()
        totals.append(total.detach())
        gradients.append((first.grad, second.grad))
    torch.testing.assert_close(*totals, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_loss_by_hand() -> None:
    # Uncorrelated columns; the second view has the first of them, and both mixed: C = [[1, r], [0, r]] with r² = 1/2.
    one, other = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]])
    total, terms, *_ = barlow_twins_loss(torch.stack([one, other], 1), torch.stack([one, one + other], 1), lambd=0.25)
    root = 0.5**0.5
    assert terms["on_diagonal"].item() == pytest.approx((1 - root) ** 2, abs=1e-4)
    assert terms["off_diagonal"].item() == pytest.approx(0.5, abs=1e-4)
    assert total.item() == pytest.approx((1 - root) ** 2 + 0.25 * 0.5, abs=1e-4)


def test_correlation_is_that_of_numpy() -> None:
    first, second = projections(50, 6, torch.float64)
    expected = np.corrcoef(first.numpy(), second.numpy(), rowvar=False)[:6, 6:]
    np.testing.assert_allclose(cross_correlation(first, second).numpy(), expected, atol=2e-3)  # eps, at small variances


def test_redundancy_takes_the_diagonal_and_all_else() -> None:
    matrix = torch.arange(1.0, 10.0).view(3, 3)
    on_diagonal, off_diagonal = redundancy(matrix)
    assert on_diagonal == 0**2 + 4**2 + 8**2
    assert off_diagonal == sum(value**2 for value in (2, 3, 4, 6, 7, 8))


def on_each_rank() -> dict[str, Any]:
    found = {}
    for name, (cut, _) in SHARES.items():
        mine = slice(None, cut) if rank() == 0 else slice(cut, None)
        first, second = (rows[mine].requires_grad_() for rows in projections(8, 5, torch.float64))
        losses = barlow_twins_loss(first, second, 0.1)
        losses.total.backward()
        reported = {key: mean_over_ranks(value) for key, value in {"total": losses.total, **losses.terms}.items()}
        found[name] = (reported, first.grad, second.grad)
    return found


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return spawn(on_each_rank)


@pytest.mark.slow
@pytest.mark.parametrize("shares", SHARES)
def test_two_ranks_have_the_loss_and_gradient_of_one_process(ranks: list[dict[str, Any]], shares: str) -> None:
    first, second = (rows.requires_grad_() for rows in projections(8, 5, torch.float64))
    losses = barlow_twins_loss(first, second, 0.1)
    losses.total.backward()
    expected = {key: value.detach() for key, value in {"total": losses.total, **losses.terms}.items()}
    gradients = []
    for found in ranks:
        reported, *own = found[shares]
        torch.testing.assert_close(reported, expected)
        gradients.append(own)
    for view, expected_gradient in enumerate((first.grad, second.grad)):
        together = torch.cat([own[view] for own in gradients])
        torch.testing.assert_close(together / 2, expected_gradient)  # DDP divides by the number of ranks


def test_total_weighs_the_off_diagonal_term_by_lambd() -> None:
    plain, weighted = method()(batch(), FIRST), method(lambd=2.0)(batch(), FIRST)
    torch.testing.assert_close(weighted.terms, plain.terms)
    for losses, lambd in ((plain, 0.0051), (weighted, 2.0)):
        torch.testing.assert_close(losses.total, losses.terms["on_diagonal"] + lambd * losses.terms["off_diagonal"])


def test_projector_has_three_layers_without_biases_and_no_norm_at_its_end() -> None:
    projector = method().projector
    kinds = [type(layer).__name__ for layer in projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    shapes = {name: tuple(parameter.shape) for name, parameter in projector.named_parameters()}
    assert shapes == {
        "0.weight": (24, 16),
        "1.weight": (24,),
        "1.bias": (24,),
        "3.weight": (24, 24),
        "4.weight": (24,),
        "4.bias": (24,),
        "6.weight": (24, 24),
    }
    encoder = build_encoder(ModelSettings(), channels=1, image_size=8)
    assert [layer.out_features for layer in BarlowTwins(encoder, 3).projector if isinstance(layer, nn.Linear)] == [
        2048
    ] * 3


def test_loss_under_bf16_autocast_is_that_of_its_projections_in_fp32() -> None:
    twins, seen = method(), []
    twins.projector.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        total, terms, *_ = twins(batch(), FIRST)
    first, second = seen
    assert first.dtype == torch.bfloat16
    expected = barlow_twins_loss(first.double(), second.double(), twins.lambd)
    torch.testing.assert_close(total.double(), expected.total, rtol=1e-5, atol=0)
    torch.testing.assert_close(terms["off_diagonal"].double(), expected.terms["off_diagonal"], rtol=1e-5, atol=0)


@pytest.mark.parametrize(("name", "p_blur", "p_solarise"), [("first", 1.0, 0.0), ("second", 0.1, 0.2)])
def test_views_are_those_of_the_paper(name: str, p_blur: float, p_solarise: float) -> None:
    images = torch.rand(40, 3, 12, 12)

    def draw() -> Draw:
        return Draw(0, 0, 0, name, np.arange(40), 40)

    for min_crop in (0.08, 0.6):
        drawn = draw()
        expected = augmentations.random_resized_crop(images, drawn, (min_crop, 1.0), (3 / 4, 4 / 3))
        expected = augmentations.horizontal_flip(expected, drawn, 0.5)
        expected = augmentations.colour_jitter(expected, drawn, 0.4, 0.4, 0.2, 0.1, 0.8)
        expected = augmentations.grayscale(expected, drawn, 0.2)
        expected = augmentations.gaussian_blur(expected, drawn, p_blur, (0.1, 2.0))
        expected = augmentations.solarise(expected, drawn, p_solarise, 0.5)
        view = method(min_crop=min_crop).views()[name]
        assert view.stream == "unlabelled"
        assert torch.equal(view.make(images, draw())[0], expected)


def test_only_the_second_view_is_solarised() -> None:
    # White stays above 0.6 under the jitter, and comes below 0.4 where it is turned.
    white = torch.ones(3000, 1, 4, 4)
    shares = []
    for name, spec in method().views().items():
        seen, _ = spec.make(white, Draw(0, 0, 0, name, np.arange(3000), 3000))
        shares.append((seen.mean((1, 2, 3)) < 0.5).float().mean().item())
    assert shares == pytest.approx([0.0, 0.2], abs=0.02)


def test_pretext_of_semi_shares_the_encoder() -> None:
    settings = {"name": "semi", "pretext": {"name": "barlow_twins", "projector": 24}, "lambda_u": 0.5}
    torch.manual_seed(0)
    semi = methods.build(settings, build_encoder(ModelSettings(features=16), channels=1, image_size=8), 3)
    assert isinstance(semi, Semi)
    assert isinstance(semi.pretext, BarlowTwins)
    views = {**batch(), "labelled": View(torch.rand(10, 1, 8, 8), torch.arange(10) % 3, None)}
    total, terms, *_ = semi(views, FIRST)
    torch.testing.assert_close(terms, {**semi.supervised(views, FIRST).terms, **semi.pretext(views, FIRST).terms})
    torch.testing.assert_close(total, terms["supervised"] + 0.5 * semi.pretext(views, FIRST).total)


@pytest.mark.parametrize("name", ["barlow_twins", "semi"])
def test_a_trial_in_bf16_ends_with_its_terms_in_its_curve(tmp_path: Path, name: str) -> None:
    twins = "{name: barlow_twins, projector: 32}"
    chosen = twins if name == "barlow_twins" else f"{{name: semi, pretext: {twins}}}"
    overrides = (f"stages.semi.method={chosen}", "stages.semi.epochs=2", "stages.semi.precision=bf16")
    experiment = load(write(tmp_path), overrides=["stages.semi.optimizer.lr=1e-3", *overrides])
    data = resolve(experiment.data, inspect(experiment.data))
    spec = expand(experiment, experiment.stages[0], of_stages(experiment, data), {})[0].spec
    assert spec.precision == "bf16"
    row = run_trial(spec, Store.open(str(tmp_path / "results"), create=True), Execution(), lambda epoch: None)
    assert row is not None
    assert row.status == "finished"
    for epoch in row.curve:
        weights = {"supervised": 1.0, "on_diagonal": 1.0, "off_diagonal": 0.0051}
        assert epoch.terms.keys() == weights.keys() - ({"supervised"} if name == "barlow_twins" else set())
        assert epoch.loss == pytest.approx(sum(weights[key] * value for key, value in epoch.terms.items()), rel=1e-5)
    assert row.curve[1].loss < row.curve[0].loss
