"""The denoising autoencoder's target is the image as it is."""

from typing import Any

import numpy as np
import pytest
import torch
from steps import FIRST
from torch import Tensor, nn

from raysl.data.augment.views import Draw
from raysl.methods._method import View
from raysl.methods.denoising_autoencoder import DenoisingAutoencoder, reconstruction_loss
from raysl.methods.simsiam import embedding_spread
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {"projector": 2048, "decoder": 512, "min_crop": 0.2, "p_blur": 0.0, "interpolation": "bicubic"}
SHAPES_LOSS = ["min_crop", "interpolation", "p_blur"]
IMPOSSIBLE = [{"decoder": 8}, {"decoder": 40}, {"projector": 0}, {"p_blur": -0.1}, {"interpolation": "nearest"}]
PASSES = 2  # the third view is the target


def method(**hyperparameters: Any) -> DenoisingAutoencoder:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=3, image_size=8)
    return DenoisingAutoencoder(encoder, 3, **{"projector": 24, "decoder": 16, **hyperparameters})


def views_of(autoencoder: DenoisingAutoencoder, images: Tensor) -> dict[str, View]:
    size = len(images)
    draws = {name: Draw(0, 0, 0, name, np.arange(size), size) for name in autoencoder.views()}
    return {name: View(*_made(spec.make(images, draws[name]))) for name, spec in autoencoder.views().items()}


def _made(made: tuple[Tensor, Tensor | None]) -> tuple[Tensor, None, Tensor | None]:
    return made[0], None, made[1]


class Answer(nn.Module):
    """A decoder that gives the same images, whatever the code."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.images


def test_loss_by_hand() -> None:
    # Errors of 1 and 3 in every value, but in half of the second's images: 1/2 * 1 + 1/2 * 9 / 2.
    original = torch.randn(4, 3, 5, 5)
    second = original.clone()
    second[:2] += 3
    assert reconstruction_loss(original, original - 1, second).item() == pytest.approx(0.5 + 0.5 * 9 / 2, rel=1e-5)


def test_error_is_the_mean_over_pixels_and_channels() -> None:
    first, second, original = torch.randn(3, 6, 3, 4, 4)
    expected = (nn.functional.mse_loss(first, original) + nn.functional.mse_loss(second, original)) / 2
    torch.testing.assert_close(reconstruction_loss(original, first, second), expected)


def test_target_is_the_image_without_augmentation() -> None:
    autoencoder, images = method(min_crop=0.05, p_blur=1.0), torch.rand(8, 3, 8, 8)
    views = views_of(autoencoder, images)
    for name in ("first", "second"):
        assert (views[name].images - images).abs().mean() > 0.1
    autoencoder.decoder = Answer(images)
    assert autoencoder(views, FIRST).total == 0
    autoencoder.decoder = Answer(views["first"].images)
    assert autoencoder(views, FIRST).total > 0.01


def test_both_views_are_decoded() -> None:
    autoencoder = method().eval()
    views = views_of(autoencoder, torch.rand(8, 3, 8, 8))
    z1, z2 = (autoencoder.projector(autoencoder.encoder(views[name].images)) for name in ("first", "second"))
    losses = autoencoder(views, FIRST)
    expected = reconstruction_loss(views["original"].images, autoencoder.decoder(z1), autoencoder.decoder(z2))
    torch.testing.assert_close(losses.total, expected)
    assert losses.terms.keys() == {"denoising"}
    assert losses.terms["denoising"] == losses.total
    assert losses.spread == embedding_spread(z1, z2)


def test_decoder_gives_images_of_the_encoders_size() -> None:
    encoder = build_encoder(ModelSettings(), channels=1, image_size=28)
    autoencoder = DenoisingAutoencoder(encoder, 3)
    assert autoencoder.decoder(torch.randn(2, 2048)).shape == (2, 1, 28, 28)
    assert autoencoder.decoder.project.out_features == 512


def test_views_are_made_of_one_stream() -> None:
    views = method().views()
    assert set(views) == {"first", "second", "original"}
    assert {spec.stream for spec in views.values()} == {"unlabelled"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_loss_is_at_least_fp32(dtype: torch.dtype) -> None:
    first, second, original = torch.randn(3, 6, 3, 4, 4, dtype=torch.float64).to(dtype)
    wide = original.to(torch.promote_types(dtype, torch.float32))
    found = reconstruction_loss(wide, first, second)
    assert found.dtype == wide.dtype
    expected = reconstruction_loss(original.double(), first.double(), second.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_images_are_learned() -> None:
    autoencoder = method(projector=32, decoder=32)
    images = torch.randn(16, 3, 1, 1).expand(-1, -1, 8, 8)
    views = dict.fromkeys(("first", "second", "original"), View(images, None, None))
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        total = autoencoder(views, FIRST).total
        total.backward()
        optimizer.step()
    assert total < 0.6 * images.var()
