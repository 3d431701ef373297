"""The content of a trial's model file: the state of its method, and the name of the evaluated encoder in it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from raysl.methods._method import Method

TRAINED = "encoder"  # the trained encoder: the evaluated one in older files, which name none


def model_state(trial_id: str, method: Method) -> dict[str, Any]:
    """Return the content of a trial's model file."""
    return {"id": trial_id, "method": method.state_dict(), "evaluated": _evaluated(method)}


def evaluated_encoder(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the evaluation weights of the encoder in a model file, from which another trial starts."""
    prefix = f"{state.get('evaluated', TRAINED)}."
    return {key.removeprefix(prefix): value for key, value in state["method"].items() if key.startswith(prefix)}


def _evaluated(method: Method) -> str:
    encoder = method.evaluation().encoder
    names: list[str] = [name for name, module in method.named_modules() if module is encoder]
    assert names, "what is evaluated is a submodule of the method: its weights would not be kept"
    return names[0]
