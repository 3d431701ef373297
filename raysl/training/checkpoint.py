"""Reads and writes tensors and plain values; files are checked when they are read, and never execute code."""

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

    Raises CheckpointError if the file is damaged, is not raysl's, or holds more than tensors and plain values.
    """
    place = store.address(path)
    payload = checked_payload(store.read(path), path, place)
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # a forged file can cause any exception in the reader
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{place}: refused, nothing in it was executed: {reason}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{place}: refused, it holds {type(state).__name__} and no state")
    return state
