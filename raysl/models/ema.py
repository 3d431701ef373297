"""Exponential moving averages of weights: a teacher, or the weights that are evaluated instead of the trained ones.

An average is a submodule of its method, and so part of checkpoints and models. Weights and synchronised statistics are
the same on all ranks, and so is their average.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)

Buffers = Literal["own", "copied", "averaged"]


def average_of(module: AnyModule) -> AnyModule:
    """Return the initial average of a module's weights: a copy that requires no gradient."""
    return deepcopy(module).requires_grad_(False)


@torch.no_grad()
def update_average(averages: Sequence[nn.Module], modules: Sequence[nn.Module], rate: float, buffers: Buffers) -> None:
    """Move the parameters w' of averages towards the parameters w of their modules: w' <- w' + rate (w - w').

    rate: from 0 (the average stays) to 1 (it becomes the module); 1 - momentum.
    buffers: how those of the average change, running statistics above all.  `own`: not here; an average that passes
        images in train mode updates its own.  `copied`: they are copied from the module.  `averaged`: they move as
        parameters do; those that are no floats are copied.
    """
    _lerp(averages, modules, nn.Module.parameters, rate)
    if buffers == "averaged":
        _lerp(averages, modules, _float_buffers, rate)
    if buffers != "own":
        for average, module in zip(averages, modules, strict=True):
            for old, new in zip(average.buffers(), module.buffers(), strict=True):
                if buffers == "copied" or not old.is_floating_point():
                    old.copy_(new)


def _lerp(
    averages: Sequence[nn.Module],
    modules: Sequence[nn.Module],
    tensors: Callable[[nn.Module], Iterator[Tensor]],
    rate: float,
) -> None:
    moved, towards = ([*chain.from_iterable(map(tensors, each))] for each in (averages, modules))
    if moved:
        torch._foreach_lerp_(moved, towards, rate)


def _float_buffers(module: nn.Module) -> Iterator[Tensor]:
    return (buffer for buffer in module.buffers() if buffer.is_floating_point())
