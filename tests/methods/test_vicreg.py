"""The loss is lightly's, on one process and on two; over uneven ranks it is that of one process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn
from lightly.loss import VICRegLoss
from steps import FIRST
from torch import Tensor, nn

from raysl import methods
from raysl.collectives import mean_over_ranks, rank
from raysl.config import load
from raysl.config.document import ConfigError
from raysl.data.augment import augmentations
from raysl.data.augment.views import Draw
from raysl.methods._method import View
from raysl.methods.vicreg import Vicreg, covariance_matrix, hinge, redundancy, vicreg_loss
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings
from raysl.training.settings import SGD, Adam

DEFAULTS = {
    "invariance": 25.0,
    "variance": 25.0,
    "covariance": 1.0,
    "projector": 1024,
    "min_crop": 0.2,
    "interpolation": "bicubic",
}
SHAPES_LOSS = ["invariance", "variance", "covariance", "projector", "min_crop", "interpolation"]
IMPOSSIBLE = [{"variance": -1.0}, {"projector": 1}, {"min_crop": 0.0}, {"min_crop": 1.1}, {"interpolation": "nearest"}]
SPACE = Path(__file__).parents[2] / "search_spaces" / "vicreg.yaml"
SHARES = {"even": 4, "uneven": 5, "empty": 8}  # name -> how many of 8 rows are on rank 0
WEIGHTS = (25.0, 25.0, 1.0)
OTHER_WEIGHTS = (3.0, 0.5, 7.0)


def embeddings(size: int = 8, width: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return two views' embeddings that agree in part: far from 0, correlated, deviations on both sides of 1."""
    generator = torch.Generator().manual_seed(size)
    base, one, other = torch.randn(3, size, width, generator=generator, dtype=dtype)
    scale = torch.linspace(0.2, 2.0, width, dtype=dtype)
    base = base + base[:, :1]
    first, second = (base + 0.5 * one) * scale + 2, (base + 0.5 * other) * scale.flip(0) - 1
    return first.requires_grad_(), second.requires_grad_()


def loss_and_gradient(
    function: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    total = function(first, second)
    return total.detach(), *torch.autograd.grad(total, (first, second))


def ours(weights: tuple[float, float, float]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda first, second: vicreg_loss(first, second, *weights).total


def method(**hyperparameters: Any) -> Vicreg:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return Vicreg(encoder, 3, **{"projector": 24, **hyperparameters})


def batch() -> dict[str, View]:
    generator = torch.Generator().manual_seed(0)
    return {name: View(torch.rand(10, 1, 8, 8, generator=generator), None, None) for name in ("first", "second")}


@pytest.mark.parametrize("weights", [WEIGHTS, OTHER_WEIGHTS])
@pytest.mark.parametrize(("size", "width"), [(2, 2), (12, 9), (64, 256)])
def test_loss_and_gradient_are_those_of_lightly(size: int, width: int, weights: tuple[float, float, float]) -> None:
    views = embeddings(size, width)
    expected = loss_and_gradient(VICRegLoss(*weights), *views)
    torch.testing.assert_close(loss_and_gradient(ours(weights), *views), expected, rtol=1e-10, atol=1e-12)


def test_loss_by_hand() -> None:
    # Four images, two dimensions. The first view's deviations are a and b, of which a alone is below 1; the second view
    # is the first with a constant added to one dimension, which neither variance nor covariance sees.
    base = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) * (3 / 4) ** 0.5
    first = torch.stack([0.6 * base[:, 0], 0.6 * base[:, 0] + 2 * base[:, 1]], 1)
    second = first + torch.tensor([0.0, 3.0], dtype=torch.float64)
    total, terms, spread, *_ = vicreg_loss(first, second, 2.0, 3.0, 5.0)
    assert terms["invariance"].item() == pytest.approx((0 + 9) / 2)
    assert terms["variance"].item() == pytest.approx((1 - (0.36 + 1e-4) ** 0.5) / 2)
    assert terms["covariance"].item() == pytest.approx(2 * (2 * 0.36**2) / 2)
    assert total.item() == pytest.approx(2 * 4.5 + 3 * (1 - 0.3601**0.5) / 2 + 5 * 2 * 0.36**2)
    assert spread is None


def test_covariances_are_those_of_numpy() -> None:
    first, _ = embeddings(50, 6)
    found = covariance_matrix(first).detach().numpy()
    np.testing.assert_allclose(found, np.cov(first.detach().numpy(), rowvar=False), rtol=1e-12)


def test_redundancy_is_of_all_but_the_diagonal() -> None:
    matrix = torch.tensor([[9.0, 1, 2], [3, 9, 4], [5, 6, 9]])
    assert redundancy(matrix) == (1 + 4 + 9 + 16 + 25 + 36) / 3


def test_constant_embeddings_have_a_finite_gradient_and_nearly_the_whole_hinge() -> None:
    rows = torch.ones(6, 4, requires_grad=True)
    total, terms, *_ = vicreg_loss(rows, rows, *WEIGHTS)
    total.backward()
    assert terms["variance"].item() == pytest.approx(0.99)
    assert hinge(torch.tensor([1.0, 4.0])) == 0
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_a_shift_of_all_embeddings_changes_nothing() -> None:
    first, second = embeddings()
    shift = torch.linspace(-40, 40, 5, dtype=torch.float64)
    expected = loss_and_gradient(ours(WEIGHTS), first, second)
    torch.testing.assert_close(loss_and_gradient(ours(WEIGHTS), first + shift, second + shift), expected)


def on_each_rank() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cut in SHARES.items():
        mine = slice(None, cut) if rank() == 0 else slice(cut, None)
        first, second = (rows.detach()[mine].requires_grad_() for rows in embeddings())
        losses = vicreg_loss(first, second, *WEIGHTS)
        gradient = torch.autograd.grad(losses.total, (first, second))
        found[name] = (
            {key: mean_over_ranks(v) for key, v in {"total": losses.total, **losses.terms}.items()},
            gradient,
        )
        if name == "even":
            total, *gradients = loss_and_gradient(VICRegLoss(gather_distributed=True), first, second)
            found["lightly"] = ({"total": mean_over_ranks(total)}, tuple(gradients))
    return found


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return spawn(on_each_rank)


@pytest.mark.parametrize("shares", [*SHARES, "lightly"])
def test_two_ranks_have_the_loss_and_gradient_of_one_process(ranks: list[dict[str, Any]], shares: str) -> None:
    views = embeddings()
    losses = vicreg_loss(*views, *WEIGHTS)
    expected = {key: value.detach() for key, value in {"total": losses.total, **losses.terms}.items()}
    for found in ranks:
        reported, _ = found[shares]
        assert reported.keys() == (expected.keys() if shares in SHARES else {"total"})
        torch.testing.assert_close(reported, {key: expected[key] for key in reported}, rtol=1e-10, atol=1e-12)
    for view, gradient in enumerate(torch.autograd.grad(losses.total, views)):
        together = torch.cat([found[shares][1][view] for found in ranks])
        # DDP divides by the number of ranks.
        torch.testing.assert_close(together / 2, gradient, rtol=1e-10, atol=1e-12)


def test_total_weighs_the_terms() -> None:
    plain, weighted = method()(batch(), FIRST), method(invariance=3.0, variance=0.5, covariance=7.0)(batch(), FIRST)
    torch.testing.assert_close(weighted.terms, plain.terms)
    for losses, weights in ((plain, WEIGHTS), (weighted, OTHER_WEIGHTS)):
        parts = zip(weights, (losses.terms[name] for name in ("invariance", "variance", "covariance")), strict=True)
        torch.testing.assert_close(losses.total, sum((weight * term for weight, term in parts), torch.zeros(())))


def test_projector_is_of_the_papers_width_and_ends_without_norm() -> None:
    encoder = build_encoder(ModelSettings(), channels=1, image_size=8)
    layers = list(Vicreg(encoder, 3).projector)
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [1024] * 3
    assert isinstance(layers[-1], nn.Linear)
    assert [layer.out_features for layer in method().projector if isinstance(layer, nn.Linear)] == [24] * 3


def test_loss_under_bf16_autocast_is_that_of_its_embeddings_in_fp32() -> None:
    vicreg, seen = method(), []
    vicreg.projector.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        total, terms, *_ = vicreg(batch(), FIRST)
    first, second = seen
    assert first.dtype == torch.bfloat16
    expected = vicreg_loss(first.double(), second.double(), *WEIGHTS)
    torch.testing.assert_close(total.double(), expected.total, rtol=1e-5, atol=0)
    torch.testing.assert_close(terms["covariance"].double(), expected.terms["covariance"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["first", "second"])
def test_views_are_cropped_flipped_and_recoloured_and_neither_blurred_nor_solarised(name: str) -> None:
    images = torch.rand(40, 3, 12, 12)

    def draw() -> Draw:
        return Draw(0, 0, 0, name, np.arange(40), 40)

    for chosen, min_crop in (({}, 0.2), ({"min_crop": 0.6}, 0.6)):
        drawn = draw()
        expected = augmentations.random_resized_crop(images, drawn, (min_crop, 1.0), (3 / 4, 4 / 3))
        expected = augmentations.horizontal_flip(expected, drawn, 0.5)
        expected = augmentations.colour_jitter(expected, drawn, 0.4, 0.4, 0.4, 0.1, 0.8)
        expected = augmentations.grayscale(expected, drawn, 0.2)
        view = method(**chosen).views()[name]
        assert view.stream == "unlabelled"
        assert torch.equal(view.make(images, draw())[0], expected)


@pytest.mark.parametrize("key", ["invariance", "variance", "covariance", "projector", "min_crop"])
def test_training_losses_are_not_compared_over_what_shapes_them(key: str) -> None:
    grid = "{grid: [2, 4]}" if key == "projector" else "{grid: [0.25, 0.5]}"
    search = f"stages.pretrain.method.{key}={grid}"
    assert len(load(SPACE, overrides=[search, "stages.pretrain.select=probe_accuracy"]).stages[0].configs) == 2
    with pytest.raises(ConfigError, match=f"train_loss cannot choose over 'method.{key}'"):
        load(SPACE, overrides=[search])


PROFILES = ("cifar10", "cifar100", "stl10", "tiny_imagenet", "pathmnist", "dermamnist", "octmnist", "bloodmnist")


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_follow_the_paper(profile: str) -> None:
    experiment = load(SPACE, profile)
    pretrain, knn, *trained = experiment.stages
    settings = pretrain.settings
    assert (settings.epochs, settings.batch_size, settings.schedule.name) == (200, 256, "cosine")
    assert settings.optimizer == Adam(name="adam", lr=1e-3, weight_decay=1e-6)
    assert settings.method == methods.settings_model("vicreg")(name="vicreg").model_dump()
    assert (experiment.model.backbone, experiment.model.features) == ("resnet18", None)
    assert experiment.data.source == profile
    assert experiment.data.channels == (3 if profile == "octmnist" else None)
    labels = [50, "all", "all", 50, 500, "all"] if profile == "stl10" else [0.01, "all", "all", 0.01, 0.1, "all"]
    assert [stage.data.labels for stage in experiment.stages] == labels
    assert (knn.settings.method["name"], knn.settings.probe, knn.start_from) == ("frozen", "knn", "pretrain")
    assert [stage.settings.freeze for stage in trained] == ["backbone", "none", "none", "none"]
    for stage in trained:
        assert (stage.settings.epochs, stage.settings.batch_size, stage.settings.probe) == (100, 256, "classifier")
        assert stage.settings.optimizer == SGD(name="sgd", lr=1e-3, momentum=0.9, weight_decay=1e-6)
        assert stage.start_from == "pretrain"
