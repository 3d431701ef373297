"""Averages of weights by their formula, what becomes of buffers, and that ranks have the same."""

from collections.abc import Mapping
from copy import deepcopy
from typing import get_args

import pytest
import torch
from gloo import spawn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raysl.collectives import rank, sample_mean, world_size
from raysl.models.batch_norm import sync_batch_norm
from raysl.models.ema import Buffers, average_of, update_average
from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.models.settings import ModelSettings

POLICIES: tuple[Buffers, ...] = get_args(Buffers)
RATE = 0.25


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return deepcopy(dict(module.state_dict()))


def moved(old: Mapping[str, Tensor], new: Mapping[str, Tensor], buffers: Buffers) -> dict[str, Tensor]:
    """Return what an average becomes, key by key."""
    becomes = {}
    for key, value in old.items():
        whole = not value.is_floating_point()
        if "running" not in key and not whole:
            becomes[key] = (1 - RATE) * value + RATE * new[key]
        elif buffers == "own":
            becomes[key] = value
        else:
            becomes[key] = new[key] if buffers == "copied" or whole else (1 - RATE) * value + RATE * new[key]
    return becomes


@pytest.mark.parametrize("buffers", POLICIES)
def test_an_average_is_that_of_the_formula(buffers: Buffers) -> None:
    module = network()
    average = average_of(module)
    assert state_of(average).keys() == state_of(module).keys()
    expected = state_of(average)
    for seed in (1, 2, 3):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        module(torch.randn(8, 3, generator=torch.Generator().manual_seed(seed)))
        before = state_of(module)
        expected = moved(expected, before, buffers)
        update_average([average], [module], RATE, buffers)
        torch.testing.assert_close(state_of(average), expected)
        torch.testing.assert_close(state_of(module), before, rtol=0, atol=0)
    assert average[1].num_batches_tracked == (0 if buffers == "own" else 3)


@pytest.mark.parametrize("buffers", POLICIES)
def test_rates_of_nothing_and_of_all(buffers: Buffers) -> None:
    module, average = network(1), network(2)
    module(torch.randn(8, 3))
    before = dict(deepcopy(average).named_parameters())
    update_average([average], [module], 0.0, buffers)
    torch.testing.assert_close(dict(average.named_parameters()), before, rtol=0, atol=0)
    update_average([average], [module], 1.0, buffers)
    torch.testing.assert_close(dict(average.named_parameters()), dict(module.named_parameters()), rtol=0, atol=0)
    if buffers != "own":
        torch.testing.assert_close(state_of(average), state_of(module), rtol=0, atol=0)


def test_several_averages_move_as_each_alone() -> None:
    modules = [network(1), nn.Identity(), network(2)]
    together, alone = (list(map(average_of, [network(3), nn.Identity(), network(4)])) for _ in range(2))
    update_average(together, modules, RATE, "averaged")
    for average, module in zip(alone, modules, strict=True):
        update_average([average], [module], RATE, "averaged")
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(state_of(one), state_of(other), rtol=0, atol=0)


def test_an_average_is_a_copy_that_gets_no_gradient() -> None:
    module = network()
    average = average_of(module)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())
    places = {value.data_ptr() for value in module.state_dict().values()}
    assert not places & {value.data_ptr() for value in average.state_dict().values()}
    update_average([average], [module], RATE, "copied")
    assert not places & {value.data_ptr() for value in average.state_dict().values()}
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_average_of_a_frozen_backbone_is_frozen_as_well() -> None:
    encoder = build_encoder(ModelSettings(features=4), channels=1, image_size=8)
    both = nn.ModuleList([encoder, average_of(encoder)])
    freeze_backbone(both)
    both.train()
    before = [state_of(each.get_submodule("backbone")) for each in both]
    for each in both:
        each(torch.rand(6, 1, 8, 8))
        assert each.get_submodule("head").training
    for each, state in zip(both, before, strict=True):
        torch.testing.assert_close(state_of(each.get_submodule("backbone")), state, rtol=0, atol=0)


def two_steps(buffers: Buffers, size: int) -> dict[str, Tensor]:
    """Return an average after two steps over all ranks, in fp64."""
    module = network().double()
    average = average_of(module)
    module = sync_batch_norm(module)
    wrapped = DistributedDataParallel(module, broadcast_buffers=False) if world_size() > 1 else module
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    for seed in (1, 2):
        rows = torch.randn(size, 3, generator=torch.Generator().manual_seed(seed)).double()[rank() :: world_size()]
        optimizer.zero_grad()
        sample_mean(wrapped(rows).square().sum(1)).backward()
        optimizer.step()
        update_average([average], [module], RATE, buffers)
    return state_of(average)


def on_each_rank() -> dict[str, dict[str, Tensor]]:
    return {f"{buffers} {size}": two_steps(buffers, size) for buffers in POLICIES for size in (8, 7)}


def test_two_ranks_have_the_average_of_one_process() -> None:
    expected = on_each_rank()
    for found in spawn(on_each_rank):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-11)
