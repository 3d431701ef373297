"""SidAE's ends are SimSiam and the denoising autoencoder, bit for bit; between them it is their weighted sum."""

from typing import Any

import numpy as np
import pytest
import torch
from steps import FIRST
from torch import Tensor

from raysl import methods
from raysl.data.augment.views import Draw
from raysl.methods._method import Losses, Method, View
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {
    "w": 0.5,
    "projector": 2048,
    "predictor": 512,
    "decoder": 512,
    "min_crop": 0.2,
    "p_blur": 0.0,
    "interpolation": "bicubic",
}
SHAPES_LOSS = ["w", "projector", "min_crop", "interpolation", "p_blur"]
IMPOSSIBLE = [{"w": -0.1}, {"w": 1.1}, {"decoder": 24}, {"interpolation": "nearest"}]
PASSES = 2  # the third view is the target
WIDTHS = {"projector": 24, "predictor": 8, "decoder": 16}
PARTS = {"simsiam": ("encoder", "projector", "predictor"), "denoising_autoencoder": ("encoder", "projector", "decoder")}
ENDS = {"simsiam": 0.0, "denoising_autoencoder": 1.0}


def method(name: str, **hyperparameters: Any) -> Method:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    known = methods.describe(name).hyperparameters
    widths = {key: width for key, width in WIDTHS.items() if key in known}
    built = methods.build({"name": name, **widths, **hyperparameters}, encoder, 3)
    return built.to(memory_format=torch.channels_last)


def views_of(built: Method, step: int = 0) -> dict[str, View]:
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(step))
    draws = {name: Draw(0, 0, step, name, np.arange(12), 12) for name in built.views()}
    return {name: View(spec.make(images, draws[name])[0], None, None) for name, spec in built.views().items()}


def part_of(state: dict[str, Tensor], parts: tuple[str, ...]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in state.items() if key.split(".")[0] in parts}


def train(built: Method, steps: int) -> list[Losses]:
    optimizer = torch.optim.SGD(built.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    seen = []
    for step in range(steps):
        optimizer.zero_grad()
        losses = built(views_of(built, step), FIRST)
        losses.total.backward()
        optimizer.step()
        seen.append(losses)
    return seen


@pytest.mark.parametrize("end", ENDS)
def test_first_weights_are_those_of_the_methods_at_the_ends(end: str) -> None:
    expected = part_of(method(end).state_dict(), PARTS[end])
    assert {key.split(".")[0] for key in expected} == set(PARTS[end])
    torch.testing.assert_close(part_of(method("sidae").state_dict(), PARTS[end]), expected, rtol=0, atol=0)


@pytest.mark.parametrize("end", ENDS)
def test_gradients_at_the_ends_are_those_of_the_methods_there(end: str) -> None:
    gradients = []
    for built in (method(end), method("sidae", w=ENDS[end])):
        built(views_of(built), FIRST).total.backward()
        found = {key: p.grad for key, p in built.named_parameters() if p.grad is not None}
        gradients.append(part_of(found, PARTS[end]))
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert any(gradient.abs().max() > 0 for gradient in gradients[0].values())


@pytest.mark.parametrize("end", ENDS)
def test_training_at_the_ends_is_that_of_the_methods_there(end: str) -> None:
    other, sidae = method(end), method("sidae", w=ENDS[end])
    started = part_of(sidae.state_dict(), ("encoder",))
    expected, found = train(other, steps=6), train(sidae, steps=6)
    assert [losses.total.item() for losses in found] == [losses.total.item() for losses in expected]
    assert [losses.spread for losses in found] == [losses.spread for losses in expected]
    # Batch norm statistics included.
    states = [part_of(built.state_dict(), PARTS[end]) for built in (sidae, other)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert not any(torch.equal(states[0][key], value) for key, value in started.items() if key.endswith("conv1.weight"))


@pytest.mark.parametrize("w", [0.0, 0.125, 0.5, 1.0])
def test_total_weighs_the_terms_of_both_methods(w: float) -> None:
    sidae, simsiam, autoencoder = method("sidae", w=w), method("simsiam"), method("denoising_autoencoder")
    views = views_of(sidae)
    total, terms, *_ = sidae(views, FIRST)
    torch.testing.assert_close(terms["siamese"], simsiam(views, FIRST).total, rtol=0, atol=0)
    torch.testing.assert_close(terms["denoising"], autoencoder(views, FIRST).total, rtol=0, atol=0)
    assert terms.keys() == {"siamese", "denoising"}
    torch.testing.assert_close(total, w * terms["denoising"] + (1 - w) * terms["siamese"])


def test_gradient_is_the_weighted_sum_of_both_methods() -> None:
    def gradient(name: str, **hyperparameters: float) -> Tensor:
        built = method(name, **hyperparameters).double()
        views = {key: View(view.images.double(), None, None) for key, view in views_of(built).items()}
        built(views, FIRST).total.backward()
        weights = [*built.encoder.parameters(), *built.get_submodule("projector").parameters()]
        return torch.cat([p.grad.flatten() for p in weights if p.grad is not None])

    expected = 0.25 * gradient("denoising_autoencoder") + 0.75 * gradient("simsiam")
    torch.testing.assert_close(gradient("sidae", w=0.25), expected)


def test_views_are_those_of_both_methods() -> None:
    sidae, images = method("sidae", min_crop=0.5, p_blur=0.4), torch.rand(12, 1, 8, 8)
    views: dict[str, Any] = {}
    for name in ENDS:
        views |= method(name, min_crop=0.5, p_blur=0.4).views()
    assert sidae.views().keys() == views.keys()
    for name, spec in sidae.views().items():
        assert spec.stream == views[name].stream
        seen = [made.make(images, Draw(0, 0, 0, name, np.arange(12), 12))[0] for made in (spec, views[name])]
        assert torch.equal(*seen)


def test_a_default_of_one_half() -> None:
    sidae = method("sidae")
    total, terms, *_ = sidae(views_of(sidae), FIRST)
    torch.testing.assert_close(total, (terms["denoising"] + terms["siamese"]) / 2)
