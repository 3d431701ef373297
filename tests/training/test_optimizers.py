"""One step of each optimizer by hand, and what is left out of it."""

from typing import Any

import pytest
import torch
from torch import nn

from raysl.errors import MethodError
from raysl.methods._method import ParameterGroup
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


DECAYING = [settings.model_copy(update={"weight_decay": 0.5}) for settings in ALL]


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def train(network: nn.Module, optimizers: list[torch.optim.Optimizer], steps: int = 3) -> None:
    for step in range(steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        images = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
        network(images).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.parametrize(("lr", "decay"), [(10.0, 1.0), (1.0, 0.0), (0.1, 3.0), (0.0, 0.0)])
@pytest.mark.parametrize("settings", DECAYING, ids=lambda settings: settings.name)
def test_a_group_is_trained_as_with_a_rate_and_a_decay_of_its_own(settings: Any, lr: float, decay: float) -> None:
    """The same as two optimizers, of which the second has other settings."""
    grouped, apart = two_layers(), two_layers()
    group = ParameterGroup(list(grouped[2].parameters()), lr, decay)
    train(grouped, [build_optimizer(settings, grouped, {"last": group})])
    # A rate of 0 is none of the settings', but what it leaves is known.
    own = {"lr": settings.lr * lr or 1.0, "weight_decay": settings.weight_decay * decay}
    others = [build_optimizer(settings, apart[0]), build_optimizer(settings.model_copy(update=own), apart[2])]
    train(apart, others if lr else others[:1])
    for one, other in zip(grouped.parameters(), apart.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("settings", DECAYING, ids=lambda settings: settings.name)
def test_groups_of_the_stages_own_rate_change_nothing(settings: Any) -> None:
    plain, grouped = two_layers(), two_layers()
    train(plain, [build_optimizer(settings, plain)])
    groups = {"first": ParameterGroup(list(grouped[0].parameters())), "last": ParameterGroup([grouped[2].weight])}
    train(grouped, [build_optimizer(settings, grouped, groups)])
    for one, other in zip(plain.parameters(), grouped.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("settings", ALL, ids=lambda settings: settings.name)
def test_each_trainable_parameter_is_in_one_group(settings: Any) -> None:
    toy = Toy()
    parameters = (parameter for parameter in toy.parameters())  # can be read once
    optimizer = build_optimizer(settings, toy, {"all": ParameterGroup(parameters, 2.0)})  # type: ignore[arg-type]
    found = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in found} == {id(toy.weight), id(toy.bias)}
    assert len(found) == 2
    assert {group["lr"] for group in optimizer.param_groups} == {0.2}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (lambda toy: {"own": ParameterGroup([toy.weight], lr=-1.0)}, "'own': -1.0 is no factor"),
        (lambda toy: {"own": ParameterGroup([toy.weight], weight_decay=float("inf"))}, "'own': inf is no factor"),
        (lambda toy: {"own": ParameterGroup([toy.weight], float("nan"))}, "'own': nan is no factor"),
        (
            lambda toy: {"own": ParameterGroup([nn.Parameter(torch.ones(1))])},
            "'own': holds a parameter that the method",
        ),
        (
            lambda toy: {"one": ParameterGroup([toy.bias]), "two": ParameterGroup([toy.bias])},
            "that is in 'one' already",
        ),
    ],
)
def test_groups_that_cannot_be_are_refused_by_name(groups: Any, words: str) -> None:
    toy = Toy()
    with pytest.raises(MethodError, match=words):
        build_optimizer(ALL[0], toy, groups(toy))


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
