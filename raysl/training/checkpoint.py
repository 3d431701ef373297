"""Tensors and plain values as bytes that are checked when they are read and never execute code."""

import io
from typing import Any

import torch

from raysl.errors import CheckpointError
from raysl.results.storage.checkpoint_checksums import add_checksum, checked_payload
from raysl.results.storage.store import Store


def save(store: Store, path: str, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    store.write(path, add_checksum(buffer.getvalue(), path))


def load(store: Store, path: str) -> dict[str, Any]:
    """Read a state, on the CPU.

    Raises CheckpointError where the file is damaged, not one of raysl's, or holds more than tensors and plain values.
    """
    place = store.address(path)
    payload = checked_payload(store.read(path), path, place)
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a forged file makes of the reader
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{place}: refused, nothing in it was executed: {reason}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{place}: refused, it holds {type(state).__name__} and no state")
    return state
