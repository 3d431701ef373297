"""Optimizers by name; only parameters that require a gradient are trained."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from raysl.errors import MethodError
from raysl.methods._method import ParameterGroup
from raysl.training.settings import LARS, SGD, Adam, AdamW, OptimizerSettings
from raysl.training.uncompiled import uncompiled


def build_optimizer(
    settings: OptimizerSettings, module: nn.Module, groups: Mapping[str, ParameterGroup] = MappingProxyType({})
) -> Optimizer:
    """Return the optimizer of a module's trainable parameters.

    SGD, Adam and AdamW apply weight decay to all of them, as torch does; LARS leaves out biases and norms.
    groups: parameters with their own factors of learning rate or weight decay, as in `Method.parameter_groups`.
    Raises MethodError with the group's name if it has an invalid factor or parameter.
    """
    parts = [_options(settings, group) for group in _all_groups(module, groups) if group.parameters]
    match settings:
        case SGD(lr=lr, momentum=momentum, nesterov=nesterov):
            return uncompiled(torch.optim.SGD)(parts, lr, momentum, nesterov=nesterov, fused=True)
        case Adam(lr=lr):
            return uncompiled(torch.optim.Adam)(parts, lr, (settings.beta1, settings.beta2), fused=True)
        case AdamW(lr=lr):
            return uncompiled(torch.optim.AdamW)(parts, lr, (settings.beta1, settings.beta2), fused=True)
        case LARS():
            return LayerwiseAdaptive(parts, settings)


def _all_groups(module: nn.Module, groups: Mapping[str, ParameterGroup]) -> list[ParameterGroup]:
    """Return the trainable parameters in groups; those of no named group come first."""
    owners: dict[nn.Parameter, str | None] = dict.fromkeys(module.parameters())
    found = []
    for name, (parameters, *factors) in groups.items():
        for factor in factors:
            if not 0 <= factor < math.inf:
                raise MethodError(f"parameter group {name!r}: {factor} is no factor, which is finite and 0 or more")
        own = [*parameters]
        for parameter in own:
            _take(parameter, name, owners)
        found.append(ParameterGroup([parameter for parameter in own if parameter.requires_grad], *factors))
    rest = [parameter for parameter, owner in owners.items() if owner is None and parameter.requires_grad]
    return [ParameterGroup(rest), *found]


def _take(parameter: nn.Parameter, name: str, owners: dict[nn.Parameter, str | None]) -> None:
    """Record a parameter's group; raises MethodError if another group has the parameter, or the method does not."""
    if parameter not in owners:
        raise MethodError(f"parameter group {name!r}: holds a parameter that the method does not have")
    if owners[parameter] is not None:
        raise MethodError(f"parameter group {name!r}: holds a parameter that is in {owners[parameter]!r} already")
    owners[parameter] = name


def _options(settings: OptimizerSettings, group: ParameterGroup) -> dict[str, Any]:
    """Return a group in the form of torch's optimizers."""
    decay = settings.weight_decay * group.weight_decay
    return {"params": [*group.parameters], "lr": settings.lr * group.lr, "weight_decay": decay}


@uncompiled
class LayerwiseAdaptive(Optimizer):
    """LARS (You et al. 2017, arXiv:1708.03888, algorithm 1), per parameter w with gradient g:

    v <- momentum v + lr ratio (g + decay w);  w <- w - v;  ratio = trust |w| / (|g| + decay |w|),
    or 1 if |w| or |g| is 0. Biases and norm parameters (fewer than two dimensions) have neither ratio nor decay.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], settings: LARS) -> None:
        parts = []
        for group in groups:
            matrices = [parameter for parameter in group["params"] if parameter.ndim > 1]
            vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
            parts.append({**group, "params": matrices, "adapt": True})
            parts.append({**group, "params": vectors, "adapt": False, "weight_decay": 0.0})
        defaults = {"lr": settings.lr, "momentum": settings.momentum, "trust": settings.trust}
        super().__init__([part for part in parts if part["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step; closures are not supported."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, parameter.grad, group)

    def _step_one(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        update = gradient.add(weight, alpha=group["weight_decay"])
        if group["adapt"]:
            update *= _ratio(weight.norm(), gradient.norm(), group["trust"], group["weight_decay"])
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].mul_(group["momentum"]).add_(update, alpha=group["lr"])
        weight.sub_(state["momentum"])


def _ratio(weight: Tensor, gradient: Tensor, trust: float, decay: float) -> Tensor:
    ratio = trust * weight / (gradient + decay * weight)
    return torch.where((weight > 0) & (gradient > 0), ratio, torch.ones_like(ratio))
