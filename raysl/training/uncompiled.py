"""Parts of torch without its compiler: they import `torch._dynamo`, for seconds, though raysl compiles nothing."""

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)

MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")  # each would tell the compiler to skip it


def uncompiled(kind: type[Kind]) -> type[Kind]:
    """Return a class of optimizers with the same steps, whose methods do not import the compiler."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in MARKED}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(inspect.unwrap(kind.step))})


def set_deterministic(on: bool, *, warn_only: bool = False) -> None:
    """Do as `torch.use_deterministic_algorithms`, but for compiled code."""
    torch.set_deterministic_debug_mode(("warn" if warn_only else "error") if on else "default")
