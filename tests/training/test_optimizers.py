"""One step of each optimizer by hand, and what is left out of it."""

from typing import Any

import pytest
import torch
from torch import nn

from raysl.training.optimizers import build_optimizer
from raysl.training.settings import LARS, SGD, Adam, AdamW

ALL = [SGD(name="sgd", lr=0.1), Adam(name="adam", lr=0.1), AdamW(name="adamw", lr=0.1), LARS(name="lars", lr=0.1)]


class Toy(nn.Module):
    """A weight of norm 5, a bias, and a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
        self.bias = nn.Parameter(torch.tensor([2.0]))
        self.frozen = nn.Parameter(torch.tensor([[1.0, 1.0]]), requires_grad=False)


def steps(settings: Any, count: int, lr: tuple[float, ...] = ()) -> tuple[Toy, torch.optim.Optimizer]:
    """Take steps with the gradients (0, 2) of the weight, norm 2, and 1 of the bias."""
    toy = Toy()
    optimizer = build_optimizer(settings, toy)
    for number in range(count):
        toy.weight.grad, toy.bias.grad = torch.tensor([[0.0, 2.0]]), torch.tensor([1.0])
        for group in optimizer.param_groups:
            group["lr"] = lr[number] if lr else group["lr"]
        optimizer.step()
    return toy, optimizer


def expect(toy: Toy, weight: list[float], bias: list[float]) -> None:
    torch.testing.assert_close(toy.weight.data, torch.tensor([weight]))
    torch.testing.assert_close(toy.bias.data, torch.tensor(bias))
    assert toy.frozen.tolist() == [[1.0, 1.0]]


def test_lars_by_hand() -> None:
    # ratio = 0.1 * 5 / (2 + 0.5 * 5) = 1/9; update = (0, 2) + 0.5 * (3, 4) = (1.5, 4); times lr 0.9 and ratio: 0.1
    toy, _ = steps(LARS(name="lars", lr=0.9, weight_decay=0.5, trust=0.1), 1)
    expect(toy, [3 - 0.15, 4 - 0.4], [2 - 0.9])  # the bias: plain gradient, neither decay nor ratio


def test_lars_momentum_takes_the_rate_of_each_step() -> None:
    # The bias: v1 = 1 * 1, v2 = 0.5 v1 + 0.1 * 1 (You et al., algorithm 1); torch's SGD would move by 0.1 * 1.5.
    toy, _ = steps(LARS(name="lars", lr=1.0, momentum=0.5), 2, lr=(1.0, 0.1))
    assert toy.bias.item() == pytest.approx(2 - 1 - 0.6)


def test_lars_leaves_out_biases_and_norms_alone() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    optimizer = build_optimizer(LARS(name="lars", lr=0.1, weight_decay=0.5), module)
    adapted, others = optimizer.param_groups
    assert [p.shape for p in adapted["params"]] == [(2, 1, 3, 3), (3, 2)]
    assert [p.shape for p in others["params"]] == [(2,), (2,), (2,), (3,)]
    assert (adapted["weight_decay"], others["weight_decay"]) == (0.5, 0.0)


def test_lars_moves_a_weight_that_is_zero_and_stays_finite() -> None:
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = build_optimizer(LARS(name="lars", lr=0.1), layer)
    layer.weight.grad = torch.tensor([[1.0, 0.0]])
    optimizer.step()
    assert layer.weight.tolist() == [[pytest.approx(-0.1), 0.0]]
    layer.weight.grad = torch.zeros(1, 2)
    optimizer.step()
    assert layer.weight.isfinite().all()


def test_sgd_by_hand() -> None:
    toy, _ = steps(SGD(name="sgd", lr=0.1, momentum=0.5, weight_decay=0.5), 1)
    expect(toy, [3 - 0.15, 4 - 0.4], [2 - 0.2])
    nesterov, _ = steps(SGD(name="sgd", lr=0.1, momentum=0.5, nesterov=True), 1)
    expect(nesterov, [3, 4 - 0.3], [2 - 0.15])


def test_adam_decay_is_part_of_the_gradient_and_of_adamw_is_not() -> None:
    adam, _ = steps(Adam(name="adam", lr=0.1, weight_decay=0.5), 1)
    expect(adam, [2.9, 3.9], [1.9])  # a first step is lr * sign(gradient + decay * weight)
    adamw, _ = steps(AdamW(name="adamw", lr=0.1, weight_decay=0.5), 1)
    expect(adamw, [3 * 0.95, 4 * 0.95 - 0.1], [2 * 0.95 - 0.1])


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: settings.name)
def test_frozen_parameters_are_left_out_even_with_a_gradient(settings: Any) -> None:
    toy = Toy()
    optimizer = build_optimizer(settings, toy)
    toy.frozen.grad = torch.ones(1, 2)
    optimizer.step()
    assert toy.frozen.tolist() == [[1.0, 1.0]]


def test_betas_reach_adam() -> None:
    for settings in (
        Adam(name="adam", lr=0.1, beta1=0.5, beta2=0.75),
        AdamW(name="adamw", lr=0.1, beta1=0.5, beta2=0.75),
    ):
        optimizer = build_optimizer(settings, Toy())
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: settings.name)
def test_state_goes_on_where_it_was(settings: Any) -> None:
    straight, _ = steps(settings, 2)
    stopped, optimizer = steps(settings, 1)
    resumed = build_optimizer(settings, stopped)
    resumed.load_state_dict(optimizer.state_dict())
    stopped.weight.grad, stopped.bias.grad = torch.tensor([[0.0, 2.0]]), torch.tensor([1.0])
    resumed.step()
    assert torch.equal(stopped.weight, straight.weight)
    assert torch.equal(stopped.bias, straight.bias)


def test_lars_trains_a_network() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)), torch.randn(32, 4)
    optimizer = build_optimizer(LARS(name="lars", lr=1.0, trust=0.02), network)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = (network(images) - images[:, :1]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
