"""Two ranks compute what one process does, gradients included."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gloo import spawn
from torch import Tensor

from raysl.collectives import (
    all_reduce_sum,
    centred,
    gather,
    mean_over_ranks,
    num_rows,
    rank,
    sample_mean,
    standardised,
    world_size,
)

SIZES = (6, 5, 1)


def batch(size: int) -> Tensor:
    return torch.randn(size, 3, generator=torch.Generator().manual_seed(size), dtype=torch.float64)


def cubed_mean(rows: Tensor) -> Tensor:
    return sample_mean((rows**3).sum(1))


def similarity(rows: Tensor) -> Tensor:
    # Depends on every pair of rows and on their order.
    everyone = gather(rows)
    return (torch.arange(len(everyone)).double() @ (everyone @ everyone.T) ** 2).mean()


def skewness(rows: Tensor) -> Tensor:
    # Each row weighs differently: else nothing of the gradient would be left after the mean and variance.
    weights = torch.arange(10.0).double()[rank() :: world_size()][: len(rows)]
    return sample_mean(weights * (standardised(rows) ** 3).sum(1))


def variance(rows: Tensor) -> Tensor:
    return (centred(rows)[1] ** 2).sum()


FUNCTIONS = (cubed_mean, similarity, skewness, variance)


def on_each_rank() -> dict[str, Any]:
    found: dict[str, Any] = {"world_size": world_size(), "rank": rank()}
    for size in SIZES:
        for function in FUNCTIONS:
            rows = batch(size)[rank() :: 2].requires_grad_()
            loss = function(rows)
            loss.backward()
            found[f"{function.__name__} {size}"] = (mean_over_ranks(loss), rows.grad)
        found[f"rows {size}"] = num_rows(batch(size)[rank() :: 2])
        found[f"gathered {size}"] = gather(batch(size)[rank() :: 2])
    local = torch.full((2,), rank() + 1.0, requires_grad=True)
    total = all_reduce_sum(local)
    (total * torch.tensor([1.0, 10.0]) * (rank() + 1)).sum().backward()
    found["sum"], found["sum gradient"] = total.detach(), local.grad
    found["integers"] = gather(torch.arange(5)[rank() :: 2])
    return found


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return spawn(on_each_rank)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_loss_and_gradient_of_two_ranks_are_those_of_one(ranks: list[dict[str, Any]], function: Any, size: int) -> None:
    rows = batch(size).requires_grad_()
    loss = function(rows)
    loss.backward()
    assert rows.grad is not None
    for number, found in enumerate(ranks):
        mean_loss, gradient = found[f"{function.__name__} {size}"]
        torch.testing.assert_close(mean_loss, loss.detach())
        torch.testing.assert_close(gradient / 2, rows.grad[number::2])  # DDP divides by the number of ranks


@pytest.mark.parametrize("size", SIZES)
def test_gathered_rows_are_in_global_order(ranks: list[dict[str, Any]], size: int) -> None:
    for found in ranks:
        assert torch.equal(found[f"gathered {size}"], batch(size))


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_all_ranks_are_counted(ranks: list[dict[str, Any]], size: int) -> None:
    assert [found[f"rows {size}"] for found in ranks] == [size, size]


def test_standardising_is_batch_normalisation_without_parameters() -> None:
    rows = (batch(6) * torch.tensor([1.0, 1e-3, 0.0]) + 5).requires_grad_()
    expected = F.batch_norm(rows, None, None, training=True, eps=1e-4)
    found = standardised(rows, eps=1e-4)
    torch.testing.assert_close(found, expected)
    weights = batch(6).flip(0)
    gradients = [torch.autograd.grad((value * weights).sum(), rows)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_variance_is_the_biased_one() -> None:
    deviations, found = centred(batch(6) + 5)
    torch.testing.assert_close(found, batch(6).var(0, correction=0))
    torch.testing.assert_close(deviations, batch(6) - batch(6).mean(0))


def test_integers_are_gathered_too(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["integers"].tolist() == ranks[1]["integers"].tolist() == [0, 1, 2, 3, 4]


def test_gradient_of_a_sum_is_the_sum_of_gradients(ranks: list[dict[str, Any]]) -> None:
    for number, found in enumerate(ranks):
        assert (found["world_size"], found["rank"]) == (2, number)
        assert found["sum"].tolist() == [3.0, 3.0]
        assert found["sum gradient"].tolist() == [3.0, 30.0]


def test_one_process_is_left_alone() -> None:
    rows = batch(5)
    assert (world_size(), rank()) == (1, 0)
    assert gather(rows) is rows
    assert sample_mean(rows[:, 0]) == rows[:, 0].mean()
    assert not mean_over_ranks(rows.requires_grad_()).requires_grad
