"""BYOL's loss is lightly's, and its target is an average that nothing else changes."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gloo import spawn
from lightly.loss import NegativeCosineSimilarity
from steps import FIRST
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raysl.collectives import mean_over_ranks, rank, world_size
from raysl.data.augment.siamese import distorted
from raysl.data.augment.views import Draw
from raysl.methods._method import Losses, Step, View
from raysl.methods.byol import Byol, byol_loss, relative_spread, target_rate
from raysl.methods.semi import Semi
from raysl.models.batch_norm import sync_batch_norm
from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.models.settings import ModelSettings
from raysl.training.optimizers import build_optimizer
from raysl.training.settings import LARS, Adam

DEFAULTS = {
    "momentum": 0.99, "hidden": 4096, "projector": 256, "min_crop": 0.2, "interpolation": "bicubic", "l2_start": 0.0,
    "asymmetric": False,
}  # fmt: skip
SHAPES_LOSS = ["momentum", "projector", "min_crop", "interpolation", "l2_start", "asymmetric"]
IMPOSSIBLE = [
    {"momentum": 1.1}, {"hidden": 0}, {"projector": 1}, {"min_crop": 0.0}, {"interpolation": "nearest"},
    {"l2_start": -1.0}, {"asymmetric": "often"},
]  # fmt: skip
GLOBAL_SIZES = (8, 7)  # over two ranks 4 + 4 rows, and 4 + 3


def method(**hyperparameters: Any) -> Byol:
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    return Byol(encoder, 3, **{"hidden": 32, "projector": 24, **hyperparameters})


def batch(size: int = 10, dtype: torch.dtype = torch.float32) -> dict[str, View]:
    """Return this rank's rows of a global batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, size, 1, 8, 8, generator=generator).to(dtype)[:, rank() :: world_size()]
    return {name: View(seen, None, None) for name, seen in zip(("first", "second"), images, strict=True)}


def embeddings(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return q1, q2, z1 and z2, of lengths far from 1."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(12, 7, generator=generator, dtype=dtype).mul_(3).requires_grad_() for _ in range(4)]


def parts(byol: Byol) -> list[tuple[nn.Module, nn.Module]]:
    """Return the parts of the online network, each with the target's."""
    return [(byol.encoder, byol.target_encoder), (byol.projector, byol.target_projector)]


def copied(module: nn.Module) -> dict[str, Tensor]:
    return deepcopy(dict(module.state_dict()))


def train(wrapped: nn.Module, byol: Byol, views: dict[str, View], steps: int = 2) -> list[Losses]:
    """Take some of five steps, as the training loop does."""
    optimizer = torch.optim.SGD([p for p in byol.parameters() if p.requires_grad], lr=0.1)
    taken = []
    for number in range(steps):
        optimizer.zero_grad()
        losses: Losses = wrapped(views, Step(number, 5))
        losses.total.backward()
        optimizer.step()
        byol.after_step(Step(number, 5), {})
        taken.append(losses)
    return taken


def test_loss_and_gradient_are_those_of_lightly() -> None:
    q1, q2, z1, z2 = embeddings()
    found = byol_loss(q1, q2, z1, z2)
    criterion = NegativeCosineSimilarity()
    # |q - z|^2 = 2 - 2 cos of either way round, and their sum where lightly's examples take half of it.
    expected = 4 + 2 * (criterion(q1, z2) + criterion(q2, z1))
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, (q1, q2)) for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_loss_by_hand() -> None:
    # Angles of 60 and 90 degrees: cosines 1/2 and 0, squared distances of unit vectors 1 and 2.
    z2, q1 = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5 * 3**0.5]])
    z1, q2 = torch.tensor([[0.0, 3.0]]), torch.tensor([[5.0, 0.0]])
    assert byol_loss(q1, q2, z1, z2).item() == pytest.approx(1 + 2)
    assert byol_loss(z2, z1, z1, z2).item() == pytest.approx(0)
    assert byol_loss(-z2, -z1, z1, z2).item() == pytest.approx(8)


def test_target_rate_goes_from_one_less_momentum_to_zero_by_a_cosine() -> None:
    assert target_rate(0.99, 0.0) == pytest.approx(0.01)
    assert target_rate(0.99, 0.25) == pytest.approx(0.01 * (2 + 2**0.5) / 4)
    assert target_rate(0.99, 0.5) == pytest.approx(0.005)
    assert target_rate(0.99, 1.0) == 0
    assert target_rate(1.0, 0.0) == 0


@pytest.mark.parametrize(("momentum", "number"), [(0.99, 0), (0.9, 1), (0.0, 0), (0.9, 4)])
def test_a_step_moves_each_parameter_of_the_target_towards_the_online_one(momentum: float, number: int) -> None:
    byol = method(momentum=momentum)
    for online in byol.parameters():
        online.data += torch.randn_like(online)
    tau = 1 - (1 - momentum) * (math.cos(math.pi * number / 4) + 1) / 2
    expected = []
    for online_part, target_part in parts(byol):
        online, target = dict(online_part.named_parameters()), dict(target_part.named_parameters())
        expected.append({name: tau * target[name] + (1 - tau) * online[name] for name in online})
    before = copied(byol)
    byol.after_step(Step(number, 4), {})
    for (_, target_part), values in zip(parts(byol), expected, strict=True):
        torch.testing.assert_close(dict(target_part.named_parameters()), values)
    after = byol.state_dict()
    # Nothing else moves: neither the online network, nor the predictor, nor any buffer.
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    parameters = {name for name, _ in byol.named_parameters() if name.startswith("target_")}
    assert moved == (parameters if tau < 1 else set())


def test_running_statistics_of_the_target_are_of_what_it_has_seen() -> None:
    byol, views = method(momentum=0.5), batch()
    with torch.no_grad():
        byol.target_encoder.backbone.stem[0].weight.mul_(3)
    alone = deepcopy(byol.target_encoder)
    for name in ("first", "second"):
        alone(views[name].images)
    train(byol, byol, views, steps=1)
    expected, found, online = (dict(each.named_buffers()) for each in (alone, byol.target_encoder, byol.encoder))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(found["backbone.stem.1.running_var"], online["backbone.stem.1.running_var"])


def test_target_normalises_by_the_batch() -> None:
    byol, views = method(), batch()
    expected = byol(views, FIRST).total
    for module in byol.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.add_(1)  # type: ignore[union-attr]
    torch.testing.assert_close(byol(views, FIRST).total, expected)
    assert not torch.allclose(byol.eval()(views, FIRST).total, expected, rtol=0.01)


def test_target_starts_as_a_copy_of_an_encoder_that_has_learned() -> None:
    torch.manual_seed(1)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    encoder(torch.rand(6, 1, 8, 8))  # running statistics of its own
    byol = Byol(encoder, 3, hidden=32, projector=24)
    for online, target in parts(byol):
        torch.testing.assert_close(dict(target.state_dict()), dict(online.state_dict()), rtol=0, atol=0)
        places = {value.data_ptr() for value in online.state_dict().values()}
        assert not places & {value.data_ptr() for value in target.state_dict().values()}


def test_target_is_kept_with_the_model_and_is_not_taken_for_the_encoder() -> None:
    names = method().state_dict().keys()
    encoder = {name.removeprefix("encoder.") for name in names if name.startswith("encoder.")}
    assert encoder == method().encoder.state_dict().keys()
    assert {f"target_encoder.{name}" for name in encoder} <= names
    assert "target_projector.3.weight" in names


def test_target_gets_no_gradient_and_no_place_in_the_optimizer() -> None:
    byol, views = method(), batch()
    byol(views, FIRST).total.backward()
    for online, target in parts(byol):
        assert all(parameter.grad is not None for parameter in online.parameters())
        assert all(parameter.grad is None for parameter in target.parameters())
        assert not any(parameter.requires_grad for parameter in target.parameters())
    optimizer = build_optimizer(Adam(name="adam", lr=0.1), byol)
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    before = [copied(target) for _, target in parts(byol)]
    optimizer.step()
    assert trained == {id(p) for part in (byol.encoder, byol.projector, byol.predictor) for p in part.parameters()}
    for (_, target), values in zip(parts(byol), before, strict=True):
        torch.testing.assert_close(dict(target.state_dict()), values, rtol=0, atol=0)


def test_each_view_predicts_the_target_of_the_other() -> None:
    byol, views = method(), batch()
    train(byol, byol, views)
    byol.eval()  # the networks differ, and are the same at each call
    images = [views[name].images for name in ("first", "second")]
    q1, q2 = (byol.predictor(byol.projector(byol.encoder(view))) for view in images)
    z1, z2 = (torch.tensor(byol.target_projector(byol.target_encoder(view)).tolist()) for view in images)
    expected = (F.normalize(q1) - F.normalize(z2)).square().sum(1) + (F.normalize(q2) - F.normalize(z1)).square().sum(1)
    losses = byol(views, FIRST)
    torch.testing.assert_close(losses.total, expected.mean())
    assert losses.terms == {"byol": losses.total}
    found, wanted = (torch.autograd.grad(loss, byol.encoder.parameters()) for loss in (losses.total, expected.mean()))
    torch.testing.assert_close(found, wanted)
    swapped = {"first": views["second"], "second": views["first"]}
    torch.testing.assert_close(byol(swapped, FIRST).total, losses.total)


def test_heads_are_those_of_the_paper() -> None:
    byol = Byol(build_encoder(ModelSettings(features=16), channels=1, image_size=8), 3)
    for head, inputs in ((byol.projector, 16), (byol.predictor, 256), (byol.target_projector, 16)):
        assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
        shapes = [tuple(parameter.shape) for parameter in head.parameters() if parameter.ndim == 2]
        assert shapes == [(4096, inputs), (256, 4096)]


def test_views_pass_each_network_one_after_the_other() -> None:
    byol = method()
    byol(batch(), FIRST)
    counts = [value for key, value in byol.state_dict().items() if key.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {2}


def test_backbone_frozen_after_the_copy_is_frozen_in_the_target_as_well() -> None:
    byol = method(momentum=0.9)
    freeze_backbone(byol)
    byol.train()
    before = copied(byol.target_encoder.backbone)
    train(byol, byol, batch())
    torch.testing.assert_close(dict(byol.target_encoder.backbone.state_dict()), before, rtol=0, atol=0)
    torch.testing.assert_close(dict(byol.encoder.backbone.state_dict()), before, rtol=0, atol=0)
    assert byol.target_projector.training


def test_average_is_taken_in_fp32_under_autocast() -> None:
    byol, views = method(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        byol(views, FIRST).total.backward()
        for parameter in byol.encoder.parameters():
            parameter.data += 1e-3
        before = byol.target_projector[0].weight.clone(), byol.target_encoder.head[0].weight.clone()
        byol.after_step(FIRST, {})
    assert {value.dtype for value in byol.parameters()} == {torch.float32}
    # A hundredth of a thousandth is below bfloat16's resolution.
    moved = byol.target_encoder.head[0].weight - before[1]
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-5), rtol=1e-2, atol=0)
    assert torch.equal(byol.target_projector[0].weight, before[0])


def test_average_takes_weights_in_any_memory_format() -> None:
    plain, byol = method(momentum=0.5), method(momentum=0.5).to(memory_format=torch.channels_last)
    convolution = byol.target_encoder.backbone.blocks[0].conv1.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    for each in (plain, byol):
        for parameter in each.encoder.parameters():
            parameter.data.mul_(2)
        each.after_step(Step(1, 4), {})
    torch.testing.assert_close(dict(byol.target_encoder.state_dict()), dict(plain.target_encoder.state_dict()))
    assert convolution.is_contiguous(memory_format=torch.channels_last)


def test_method_that_holds_another_passes_the_step_on() -> None:
    byol = method(momentum=0.5)
    semi = Semi(byol.encoder, 3, pretext=byol)
    with torch.no_grad():
        byol.encoder.head[0].weight.add_(1)
    before = byol.target_encoder.head[0].weight.clone()
    semi.after_step(Step(1, 2), {})
    torch.testing.assert_close(byol.target_encoder.head[0].weight, before + 0.25)


def two_steps(size: int) -> dict[str, Any]:
    """Return what two steps of gradient descent leave, in fp64, over all ranks."""
    byol = sync_batch_norm(method(momentum=0.5, l2_start=0.3)).double()
    views = batch(size, torch.float64)
    wrapped = DistributedDataParallel(byol, broadcast_buffers=False) if world_size() > 1 else byol
    taken = train(wrapped, byol, views)
    gradients = {f"gradient of {name}": p.grad for name, p in byol.named_parameters() if p.requires_grad}
    reported = {f"loss {step}": mean_over_ranks(losses.total) for step, losses in enumerate(taken)}
    assert taken[-1].spread is not None
    return {**reported, "spread": taken[-1].spread, **gradients, **byol.state_dict()}


def on_each_rank() -> dict[str, Any]:
    torch.use_deterministic_algorithms(True)
    return {str(size): two_steps(size) for size in GLOBAL_SIZES}


@pytest.mark.slow
def test_two_ranks_equal_one_process_over_two_steps() -> None:
    expected = {str(size): two_steps(size) for size in GLOBAL_SIZES}
    for found in spawn(on_each_rank):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_spread_of_random_weights_is_about_one_at_any_scale(scale: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2000, 512).relu()  # what batch normalisation and ReLU leave
    z = scale * hidden @ torch.randn(512, 64)
    assert relative_spread(z, z).item() == pytest.approx(1, abs=0.05)
    assert relative_spread(z - z.mean(0), z - z.mean(0)) == 1  # and no more where they have nothing in common


def test_spread_of_a_collapse_is_about_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(64, generator=generator) + 0.01 * torch.randn(200, 64, generator=generator)
    assert relative_spread(z, z) < 0.05
    assert relative_spread(torch.zeros(200, 64), torch.zeros(200, 64)) == 0
    assert relative_spread(z.bfloat16(), z.bfloat16()) < 0.05
    assert relative_spread(z.bfloat16(), z.bfloat16()).dtype == torch.float32


def test_spread_by_hand() -> None:
    # Unit rows (1, 0), (0, 1): deviations of 1/2 in both dimensions; the second view's are one row: none at all.
    z1, z2 = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    assert relative_spread(z1, z2).item() == pytest.approx(0.25 * 2**0.5 / math.sqrt(1 - 1 / math.pi))


def test_spread_falls_where_the_target_learns_too() -> None:
    def trained(leak: bool) -> float:
        byol = method(momentum=0.0)
        optimizer = torch.optim.SGD([*byol.projector.parameters(), *byol.predictor.parameters()], 0.1, momentum=0.9)
        images = torch.randn(128, 16)
        for _ in range(60):
            z1, z2 = (byol.projector(images + torch.randn(128, 16)) for _ in range(2))
            targets = (z1, z2) if leak else (z1.detach(), z2.detach())
            optimizer.zero_grad()
            byol_loss(byol.predictor(z1), byol.predictor(z2), *targets).backward()
            optimizer.step()
        return relative_spread(z1, z2).item()

    assert trained(leak=False) > 0.8
    assert trained(leak=True) < 0.3  # collapsed in batches of 128 below 0.35


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


def test_the_pull_to_the_start_is_that_of_equation_3() -> None:
    byol = method(l2_start=0.01).double()
    views = batch(dtype=torch.float64)
    plain = byol(views, FIRST)
    assert plain.terms["l2_start"].item() == 0  # at the start, which is not 0
    start = {key: value.clone() for key, value in byol.encoder.backbone.named_parameters()}
    with torch.no_grad():
        for parameter in byol.encoder.parameters():
            parameter += 0.1
        byol.encoder.backbone.get_buffer("stem.1.running_mean").add_(7)  # buffers are not pulled
    losses = byol(views, FIRST)
    count = sum(value.numel() for value in start.values())
    assert losses.terms["l2_start"].item() == pytest.approx(0.01 * count)
    assert losses.total.item() == pytest.approx(losses.terms["byol"].item() + 2 * 0.01 * 0.01 * count)
    parameters = dict(byol.encoder.backbone.named_parameters())
    with_pull, without = (torch.autograd.grad(part, parameters.values(), retain_graph=True)
                          for part in (losses.total, losses.terms["byol"]))  # fmt: skip
    for pulled, free in zip(with_pull, without, strict=True):
        torch.testing.assert_close(pulled - free, torch.full_like(free, 2 * 0.01 * 2 * 0.1))
    # The head is free, and so is the start: nothing trains it, and it is in the state for a trial that goes on.
    assert byol.start is not None
    assert not any(parameter.requires_grad for parameter in byol.start.parameters())
    kept = {key.removeprefix("start."): value for key, value in byol.state_dict().items() if key.startswith("start.")}
    assert start.keys() < kept.keys()
    for key, value in start.items():
        assert torch.equal(kept[key], value)
    assert not any(key.startswith("start.") for key in method().state_dict())


def test_a_pull_to_the_start_holds_weights_near_it() -> None:
    def distance(l2_start: float) -> float:
        byol = method(l2_start=l2_start)
        before = {key: value.clone() for key, value in byol.encoder.backbone.named_parameters()}
        optimizer = torch.optim.SGD([p for p in byol.parameters() if p.requires_grad], lr=0.05)
        for _ in range(10):
            optimizer.zero_grad()
            byol(batch(), FIRST).total.backward()
            optimizer.step()
        after = byol.encoder.backbone.named_parameters()
        return sum((value - before[key]).square().sum().item() for key, value in after)

    assert distance(1.0) < 0.5 * distance(0.0)


def test_a_frozen_backbone_is_not_pulled_and_decay_does_not_pull_twice() -> None:
    frozen = method(l2_start=1.0)
    freeze_backbone(frozen)
    losses = frozen(batch(), FIRST)
    losses.total.backward()
    assert losses.terms["l2_start"].item() == 0
    assert all(parameter.grad is None for parameter in frozen.encoder.backbone.parameters())
    byol = method(l2_start=1.0)
    held = {id(parameter) for parameter in byol.start.parameters()} if byol.start else set()
    groups = build_optimizer(LARS(name="lars", lr=0.1, weight_decay=1e-2), byol, byol.parameter_groups()).param_groups
    assert held
    assert not held & {id(parameter) for group in groups for parameter in group["params"]}


def test_asymmetric_views_are_byol_s_own() -> None:
    made = {name: spec.make.keywords for name, spec in method(asymmetric=True, min_crop=0.3).views().items()}
    assert {name: (given["p_blur"], given["p_solarise"]) for name, given in made.items()} == {
        "first": (1.0, 0.0), "second": (0.1, 0.2)
    }  # fmt: skip
    assert all(given["saturation"] == 0.2 and given["min_crop"] == 0.3 for given in made.values())
