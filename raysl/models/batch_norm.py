"""Batch normalisation over the global batch: two ranks of 128 normalise as one of 256 does.

torch's SyncBatchNorm refuses CPU tensors; this one takes any device and backend, and uneven or empty shards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raysl.collectives import all_reduce_sum, world_size

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def sync_batch_norm(module: AnyModule) -> AnyModule:
    """Replace every BatchNorm1d and BatchNorm2d in a module by one over the global batch.

    Parameters and buffers stay the same tensors under the same state_dict keys. Changes the module in place and returns
    it; for a module that is itself a batch norm, its replacement is returned.
    Raises TypeError for a subclass with a forward of its own, except timm's BatchNormAct2d.
    """
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return cast(AnyModule, _synchronised(module))
    for name, child in module.named_children():
        setattr(module, name, sync_batch_norm(child))
    return module


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of a module's batch norms as they are; in train mode they normalise by the batch.

    For passes that are no part of the data, such as those of adversarial images.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def one_update_of(passes: int, module: nn.Module) -> Iterator[None]:
    """Have a module's running statistics move in so many passes about as far as in one pass.

    For a batch that passes in groups.  The share of the earlier statistics that remains is exactly that of one pass.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            if norm.momentum is not None:
                norm.momentum = 1 - (1 - norm.momentum) ** (1 / passes)
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _synchronised(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> "GlobalBatchNorm":
    kind = _kind(norm)
    new = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(new, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(new, name, buffer)
    for name, child in norm.named_children():
        setattr(new, name, child)
    new.training = norm.training
    return new


def _kind(norm: nn.Module) -> "type[GlobalBatchNorm]":
    """Return the class that replaces a batch norm, without importing timm, which takes two seconds."""
    if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d):
        return GlobalBatchNorm
    if type(norm).__name__ == "BatchNormAct2d":
        return GlobalBatchNormAct
    raise TypeError(f"{type(norm).__name__}: a batch norm whose forward is its own; what it adds would be lost")


class GlobalBatchNorm(_BatchNorm):
    """BatchNorm1d and BatchNorm2d whose training statistics are those of the global batch.

    inputs: [B, C] or [B, C, ...]; B may differ over ranks and be 0. One collective forward, one backward.
    """

    def _check_input_dim(self, inputs: Tensor) -> None:
        assert inputs.dim() >= 2

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(inputs)
        mean, variance, count = _global_statistics(inputs.detach())
        self._update_running(mean, variance * count / (count - 1).clamp(min=1))
        statistics = (mean, variance, count)
        return cast(Tensor, _Normalise.apply(inputs, self.weight, self.bias, *statistics, self.eps))

    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        if not self.track_running_stats:  # in `kept_statistics`
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)


def _global_statistics(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean [C], biased variance [C] and count [] of the global batch.

    Each rank's mean and squared deviations from it are combined (Chan et al. 1979), in fp64: summing squares
    instead would lose the variance of channels whose mean is large.
    """
    wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    channels, count = inputs.shape[1], inputs.numel() // inputs.shape[1]
    local = torch.zeros(2 * channels + 1, dtype=torch.float64, device=inputs.device)
    if count:
        # The plain batch norm's own kernel, in two passes; `torch.var_mean` takes 12 times as long on a CPU.
        mean, variance = torch.batch_norm_update_stats(wide, None, None, 0.0)
        local = torch.cat([mean, variance * count, mean.new_full((1,), count)]).double()
    shards = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(shards, local)
    stacked = torch.stack(shards)
    means, squares, counts = stacked[:, :channels], stacked[:, channels:-1], stacked[:, -1:]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (squares + counts * (means - mean).square()).sum(0) / total
    return mean.to(wide.dtype), variance.to(wide.dtype), total.to(wide.dtype)


class GlobalBatchNormAct(GlobalBatchNorm):
    """timm's BatchNormAct2d, with the statistics of the global batch: its dropout and activation follow."""

    drop: nn.Module
    act: nn.Module

    def forward(self, inputs: Tensor) -> Tensor:
        return cast(Tensor, self.act(self.drop(super().forward(inputs))))


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with the gradient through the global statistics."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        n: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var, n)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        narrow, weight, mean, var, n = ctx.saved_tensors
        x, gradient = narrow.to(mean.dtype), gradients[0].to(mean.dtype)  # rounded once, as the plain kernel does
        direct, scaled, plain = _constant_statistics_backward(gradient, x, weight, mean, var, ctx.eps)
        slope = torch.rsqrt(var + ctx.eps) * (1 if weight is None else weight)
        mean_scaled, mean_plain = all_reduce_sum(torch.stack([scaled, plain])) / n
        # x's gradient through mean and variance, slope * (mean(dy) + xhat * mean(dy * xhat)), is affine in xhat.
        through = F.batch_norm(x, mean, var, slope * mean_scaled, slope * mean_plain, eps=ctx.eps)
        own = (None, None) if weight is None else (scaled, plain)
        return (direct - through).to(narrow.dtype), *own, None, None, None, None


def _constant_statistics_backward(
    gradient: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of x as if the statistics were constants, sum(dy * xhat) and sum(dy), each [C]."""
    if not x.numel():  # torch's kernel divides by the number of rows
        return torch.zeros_like(x), torch.zeros_like(mean), torch.zeros_like(mean)
    arguments = (gradient, x, weight, mean, var, None, None, False, eps, [True, True, True])
    return cast(tuple[Tensor, Tensor, Tensor], torch.ops.aten.native_batch_norm_backward(*arguments))
