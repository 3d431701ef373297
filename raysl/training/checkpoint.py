"""Tensors and plain values as bytes that are checked when they are read and never execute code."""

import io
import pickle
from typing import Any

import torch

from raysl.errors import CheckpointError
from raysl.results.store import Store
from raysl.training.seal import seal, unseal


def save(store: Store, path: str, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    store.write(path, seal(buffer.getvalue()))


def load(store: Store, path: str) -> dict[str, Any]:
    """Read a state, on the CPU.

    Raises CheckpointError where the file is damaged, not one of raysl's, or holds more than tensors and plain values.
    """
    place = f"{store.uri}/{path}"
    payload = unseal(store.read(path), place)
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"{place}: refused, nothing in it was executed: {str(error).splitlines()[0]}") from None
    return state
