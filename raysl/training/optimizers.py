"""Optimizers by name; only parameters that require a gradient are trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from raysl.training.settings import LARS, SGD, Adam, AdamW, OptimizerSettings


def build_optimizer(settings: OptimizerSettings, module: nn.Module) -> Optimizer:
    """Return the optimizer of a module's trainable parameters.

    SGD, Adam and AdamW apply weight decay to all of them, as torch does; LARS leaves out biases and norms.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    match settings:
        case SGD(lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov):
            return torch.optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True)
        case Adam(lr=lr, weight_decay=decay):
            return torch.optim.Adam(parameters, lr, (settings.beta1, settings.beta2), weight_decay=decay, fused=True)
        case AdamW(lr=lr, weight_decay=decay):
            return torch.optim.AdamW(parameters, lr, (settings.beta1, settings.beta2), weight_decay=decay, fused=True)
        case LARS():
            return LayerwiseAdaptive(parameters, settings)


class LayerwiseAdaptive(Optimizer):
    """LARS (You et al. 2017, arXiv:1708.03888, algorithm 1), per parameter w with gradient g:

    v <- momentum v + lr ratio (g + decay w);  w <- w - v;  ratio = trust |w| / (|g| + decay |w|),
    or 1 where |w| or |g| is 0. Biases and norm parameters (fewer than two dimensions) have neither ratio nor decay.
    """

    def __init__(self, parameters: list[nn.Parameter], settings: LARS) -> None:
        matrices = [parameter for parameter in parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups = [
            {"params": matrices, "adapt": True, "weight_decay": settings.weight_decay},
            {"params": vectors, "adapt": False, "weight_decay": 0.0},
        ]
        defaults = {"lr": settings.lr, "momentum": settings.momentum, "trust": settings.trust}
        super().__init__([group for group in groups if group["params"]], defaults)

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
