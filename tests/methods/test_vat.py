"""VAT's perturbation is the worst one, found in fp32 without a trace; the average of the weights is evaluated."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from learners import batch, learner, supervised
from torch import Tensor, nn

from raysl.data.augment.views import Draw
from raysl.methods._method import Step, View
from raysl.methods.vat import Vat, adversarial_direction, divergence, entropy, weak_with_direction
from raysl.models.ema import update_average

DEFAULTS = {
    "eps": 6.0, "xi": 0.01, "lambda_u": 0.3, "ramp": 0.0, "lambda_entropy": 0.06, "momentum": 0.999, "p_flip": 0.5,
}  # fmt: skip
SHAPES_LOSS = ["eps", "xi", "lambda_u", "ramp", "lambda_entropy", "p_flip"]
IMPOSSIBLE = [
    {"eps": 0.0}, {"xi": 0.0}, {"lambda_u": 0.0}, {"ramp": 1.5}, {"lambda_entropy": -1.0}, {"momentum": 1.1},
    {"p_flip": 1.5},
]  # fmt: skip
PASSES = 1  # that count: labelled and unlabelled images at once


def views_of(seed: int, dtype: torch.dtype = torch.float64) -> dict[str, View]:
    views = batch(seed)
    images = views["weak"].images.to(dtype)
    _, directions = weak_with_direction(images, Draw(seed, 0, 0, "first", np.arange(8), 8), p_flip=0.0)
    labelled = views["labelled"]
    return {"labelled": labelled._replace(images=labelled.images.to(dtype)), "first": View(images, None, directions)}


def passes(method: Vat, views: dict[str, View]) -> list[Tensor]:
    """Return the unlabelled images of each pass of a forward: as they are, with xi d, and with r."""
    seen: list[Tensor] = []
    handle = method.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()[4:]))
    method(views, Step(0, 1))
    handle.remove()
    return seen


def cosines(first: Tensor, second: Tensor) -> Tensor:
    return nn.functional.cosine_similarity(first.flatten(1).double(), second.flatten(1).double())


def test_divergence_and_entropy_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5], [0.2, 0.8]]), torch.tensor([[0.25, 0.75], [0.2, 0.8]])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert divergence(p.log() + 3, q.log()).tolist() == pytest.approx([expected, 0], abs=1e-6)
    assert entropy(p.log()).tolist() == pytest.approx([math.log(2), -0.2 * math.log(0.2) - 0.8 * math.log(0.8)])


def test_direction_and_divergence_of_a_linear_model_by_hand() -> None:
    # Two classes: only z = w x matters, and it changes fastest along w, in the direction that d has by chance.
    w = torch.tensor([3.0, 4.0]).double()
    images = torch.tensor([[0.2, -0.1], [0.1, 0.3]]).double()
    start = torch.tensor([[0.6, 0.8], [-0.8, 0.0]]).double()

    def predict(x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)).double(), x @ w], dim=1)

    direction = adversarial_direction(predict, images, start, predict(images), 1e-2)
    torch.testing.assert_close(direction, torch.tensor([[0.6, 0.8], [-0.6, -0.8]]).double())
    found = divergence(predict(images), predict(images + 0.5 * direction))
    for z, change, value in zip((0.2, 1.5), (2.5, -2.5), found.tolist(), strict=True):
        p, q = (1 / (1 + math.exp(-each)) for each in (z, z + change))
        assert value == pytest.approx(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))


def test_direction_of_fp32_is_that_of_fp64() -> None:
    method, views, narrow = learner(Vat), views_of(0), views_of(0, torch.float32)
    *_, wide = passes(method, views)
    *_, found = passes(method.float(), narrow)
    assert found.dtype == torch.float32
    assert cosines(found - narrow["first"].images, wide - views["first"].images).min() > 0.99


def test_direction_is_that_of_fp32_under_autocast() -> None:
    method, views = learner(Vat).float(), views_of(0, torch.float32)
    *_, expected = passes(method, views)
    with torch.autocast("cpu", torch.bfloat16):
        *_, found = passes(method, views)
    clean = views["first"].images
    assert cosines(found - clean, expected - clean).min() > 0.99


def test_perturbations_have_their_lengths() -> None:
    method, views = learner(Vat, eps=0.7, xi=0.03), views_of(0)
    clean, small, large = passes(method, views)
    torch.testing.assert_close(clean, views["first"].images, rtol=0, atol=0)
    torch.testing.assert_close((small - clean).flatten(1).norm(dim=1), torch.full((8,), 0.03).double())
    torch.testing.assert_close((large - clean).flatten(1).norm(dim=1), torch.full((8,), 0.7).double())


def test_the_loss_is_of_its_three_passes() -> None:
    method, views = learner(Vat, eps=0.7, lambda_u=2.0, lambda_entropy=3.0), views_of(0)
    alone: Any = deepcopy(method)
    clean, _, large = passes(method, views)
    labelled, p = alone.classifier(alone.encoder(torch.cat([views["labelled"].images, clean]))).split([4, 8])
    _, q = alone.classifier(alone.encoder(torch.cat([views["labelled"].images, large]))).split([4, 8])
    p, q = p.softmax(1), q.softmax(1)
    expected = {
        "supervised": supervised(labelled.detach().numpy()),
        "smoothness": (p * (p / q).log()).sum(1).mean().item(),
        "entropy": -(p * p.log()).sum(1).mean().item(),
    }
    losses = method(views, Step(0, 1))
    assert {name: term.item() for name, term in losses.terms.items()} == pytest.approx(expected)
    total = expected["supervised"] + 2 * expected["smoothness"] + 3 * expected["entropy"]
    assert losses.total.item() == pytest.approx(total)
    # The target has no gradient.
    (found,) = torch.autograd.grad(losses.terms["smoothness"], method.classifier.bias)
    (wanted,) = torch.autograd.grad((p.detach() * (p.detach() / q).log()).sum(1).mean(), alone.classifier.bias)
    torch.testing.assert_close(found, wanted)


def test_the_divergences_weight_rises_over_the_ramp() -> None:
    method = learner(Vat, lambda_u=2.0, ramp=0.5, lambda_entropy=0.0)
    losses = method(views_of(0), Step(1, 4))  # half of the ramp
    expected = losses.terms["supervised"] + 2 * math.exp(-5 / 4) * losses.terms["smoothness"]
    torch.testing.assert_close(losses.total, expected)


def test_divergence_is_that_of_the_change_alone() -> None:
    # Not of statistics: perturbed images are normalised in the company of the same labelled ones.
    assert learner(Vat, eps=1e-9)(views_of(0), Step(0, 1)).terms["smoothness"].item() == pytest.approx(0, abs=1e-12)


def test_perturbed_passes_leave_running_statistics_and_gradients_alone() -> None:
    method, views = learner(Vat), views_of(0)
    alone = deepcopy(method.encoder)
    alone(torch.cat([views["labelled"].images, views["first"].images]))
    for parameter in method.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    method(views, Step(0, 1))
    torch.testing.assert_close(dict(method.encoder.named_buffers()), dict(alone.named_buffers()), rtol=0, atol=0)
    assert all(bool((p.grad == 1).all()) for p in method.parameters() if p.grad is not None)
    before = {key: value.clone() for key, value in alone.named_buffers()}
    alone(views["first"].images)
    assert not torch.equal(alone.backbone.stem[1].running_mean, before["backbone.stem.1.running_mean"])


def test_directions_are_drawn_with_the_view_and_not_by_torch() -> None:
    method, views = learner(Vat), views_of(0)
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(method(views, Step(0, 1)).total)
    assert torch.equal(*losses)
    images = torch.rand(6, 1, 8, 8)
    whole, drawn = weak_with_direction(images, Draw(0, 0, 0, "first", np.arange(6), 6), p_flip=0.5)
    torch.testing.assert_close(drawn.flatten(1).norm(dim=1), torch.ones(6))
    assert cosines(drawn[:1].expand_as(drawn), drawn)[1:].abs().max() < 0.6  # each image has its own
    seen, mine = weak_with_direction(images[1::2], Draw(0, 0, 0, "first", np.arange(1, 6, 2), 6), p_flip=0.5)
    torch.testing.assert_close((seen, mine), (whole[1::2], drawn[1::2]), rtol=0, atol=0)


@pytest.mark.parametrize("gap", [1.0, 40.0, 60.0])
def test_directions_have_length_1_however_sure_the_network_is(gap: float) -> None:
    w = torch.linspace(-1, 1, 12)
    images = torch.zeros(2, 12)
    start = nn.functional.normalize(torch.ones(2, 12) + w, dim=1)

    def predict(x: Tensor) -> Tensor:
        return torch.stack([gap + x @ w, -x @ w], dim=1)

    direction = adversarial_direction(predict, images, start, predict(images), 1e-2)
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(2))
    assert cosines(direction, w.expand(2, -1)).abs().min() > 0.99


def test_an_image_that_changes_nothing_has_no_direction() -> None:
    images = torch.rand(2, 3)
    direction = adversarial_direction(lambda x: 0 * x, images, torch.rand(2, 3), torch.zeros(2, 3), 0.01)
    assert torch.equal(direction, torch.zeros(2, 3))


def test_the_average_of_the_weights_is_evaluated() -> None:
    method = learner(Vat, momentum=0.9)
    expected = deepcopy(method.encoder)
    for parameter in method.encoder.parameters():
        parameter.data += 1
    method.classifier.weight.data += 1
    method(views_of(0), Step(0, 1))
    method.after_step(Step(0, 1), {})
    update_average((expected,), (method.encoder,), 0.1, buffers="copied")
    encoder, classifier = method.evaluation()
    torch.testing.assert_close(dict(encoder.state_dict()), dict(expected.state_dict()))
    assert not torch.equal(classifier.weight, method.classifier.weight)


def test_biases_and_norms_have_no_weight_decay() -> None:
    method = learner(Vat)
    [group] = method.parameter_groups().values()
    assert group.weight_decay == 0
    assert {id(p) for p in group.parameters} == {id(p) for p in method.parameters() if p.requires_grad and p.ndim == 1}
