"""Tensors and plain values as bytes that are checked when they are read and never execute code."""

import hashlib
import io
import pickle
from typing import Any

import torch

from raysl.errors import CheckpointError
from raysl.results.store import Store

MAGIC = b"raysl1\n"
DIGEST_SIZE = 16


def save(store: Store, path: str, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    store.write(path, MAGIC + _digest(payload) + payload)


def load(store: Store, path: str) -> dict[str, Any]:
    """Read a state, on the CPU.

    Raises CheckpointError where the file is damaged, not one of raysl's, or holds more than tensors and plain values.
    """
    content = store.read(path)
    start = len(MAGIC) + DIGEST_SIZE
    place = f"{store.uri}/{path}"
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{place}: not a checkpoint of raysl (it begins with {content[:8]!r})")
    payload = content[start:]
    if _digest(payload) != content[len(MAGIC) : start]:
        raise CheckpointError(f"{place}: damaged: {len(content)} bytes whose digest is not the one written with them")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"{place}: refused, nothing in it was executed: {str(error).splitlines()[0]}") from None
    return state


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST_SIZE).digest()
