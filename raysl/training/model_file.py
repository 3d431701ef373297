"""What a trial's model file holds: the state of its method, and which part of it is the encoder that is evaluated."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from raysl.methods._method import Method

TRAINED = "encoder"  # the encoder that is trained, which alone was evaluated before files named it


def model_state(trial_id: str, method: Method) -> dict[str, Any]:
    """Return what is written of a trial's method."""
    return {"id": trial_id, "method": method.state_dict(), "evaluated": _evaluated(method)}


def evaluated_encoder(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the evaluated encoder of a model file, which another trial starts from."""
    prefix = f"{state.get('evaluated', TRAINED)}."
    return {key.removeprefix(prefix): value for key, value in state["method"].items() if key.startswith(prefix)}


def _evaluated(method: Method) -> str:
    encoder = method.evaluation().encoder
    names: list[str] = [name for name, module in method.named_modules() if module is encoder]
    assert names, "what is evaluated is a submodule of the method: its weights would not be kept"
    return names[0]
