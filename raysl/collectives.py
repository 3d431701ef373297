"""Collective operations over ranks: sums, statistics of the global batch and gathered rows, exact for uneven shards.

A loss made of these is right under DDP, which averages gradients over ranks: the mean of the ranks' losses is the loss
of the global batch, and the mean of their gradients is its gradient. In one process they are plain tensor operations.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's rank; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every rank's loss depends on this rank's part, so their gradients add up.
        return all_reduce_sum(gradients[0])


def all_reduce_sum(local: Tensor) -> Tensor:
    """Return the sum of a tensor over ranks; its gradient is the sum of the ranks' gradients.

    local: any shape, the same on every rank.
    """
    if world_size() == 1:
        return local
    return cast(Tensor, _AllReduceSum.apply(local))


def num_rows(local: Tensor) -> Tensor:
    """Return the number of rows of the global batch, a scalar of the rows' type, without gradient.

    local: [B, ...] with this rank's B, which may differ over ranks and be 0.
    """
    return all_reduce_sum(local.new_full((), local.shape[0]))


def sample_mean(per_sample: Tensor) -> Tensor:
    """Return this rank's share of the mean over the global batch: the ranks' shares average to that mean.

    per_sample: [B] with this rank's B, which may differ over ranks and be 0; returns a scalar.
    """
    if world_size() == 1:
        return per_sample.mean()
    return per_sample.sum() * (world_size() / num_rows(per_sample))


def counted_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return this rank's share of the mean of the values that count, over all ranks; 0 if none counts on any.

    values: any shape; those that do not count may be infinite.  counted: bool, of the same shape.
    """
    total = values.masked_fill(~counted, 0).sum()
    number = all_reduce_sum(counted.sum().to(total.dtype)).clamp(min=1)
    return total * (world_size() / number)


def standardised(rows: Tensor, eps: float = 1e-5) -> Tensor:
    """Return this rank's rows, shifted and scaled to zero mean and unit biased variance over the global batch.

    rows: [B, D] with this rank's B, which may differ over ranks and be 0; at least fp32, because the variance of rows
    of lower precision is too inexact.  eps: added to the variance.  The gradient goes through mean and variance, as in
    batch normalisation without parameters.
    """
    deviations, variance = centred(rows)
    return deviations * (variance + eps).rsqrt()


def centred(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return this rank's rows less the mean over the global batch, and the biased variance [D] over it.

    rows: as `standardised` takes them.  The variance is the same on every rank; the gradient goes through both.
    """
    count = num_rows(rows)
    deviations = rows - all_reduce_sum(rows.sum(0)) / count
    return deviations, all_reduce_sum(deviations.square().sum(0)) / count


def mean_over_ranks(value: Tensor) -> Tensor:
    """Return the mean of a tensor over ranks, without gradient: for reporting."""
    return all_reduce_sum(value.detach()) / world_size()


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all ranks in their global order; differentiable.

    rows: [B, ...]; rank r holds the rows r, r + world_size, ... of the global batch, so B may differ by one.
    Returns [global B, ...].
    """
    ranks = world_size()
    if ranks == 1:
        return rows
    total = int(all_reduce_sum(torch.tensor(rows.shape[0], device=rows.device)))
    # Each row is zero on all ranks but its own, so that a sum gathers rows without padding or sizes by rank.
    mine = rows.new_zeros(total, *rows.shape[1:]).slice_scatter(rows, 0, rank(), None, ranks)
    return all_reduce_sum(mine)
