"""Bytes with the digest that tells whether they are still whole.  Torch-free."""

import hashlib

from raysl.errors import CheckpointError
from raysl.results.store import Store

MAGIC = b"raysl1\n"
DIGEST_SIZE = 16


def seal(payload: bytes) -> bytes:
    """Return a payload behind raysl's mark and the payload's digest."""
    return MAGIC + _digest(payload) + payload


def unseal(content: bytes, place: str) -> bytes:
    """Return the payload of sealed bytes.

    place: where they come from, for the message.
    Raises CheckpointError where they are damaged or not raysl's.
    """
    start = len(MAGIC) + DIGEST_SIZE
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{place}: not a checkpoint of raysl (it begins with {content[:8]!r})")
    if _digest(content[start:]) != content[len(MAGIC) : start]:
        raise CheckpointError(f"{place}: damaged: {len(content)} bytes whose digest is not the one written with them")
    return content[start:]


def is_whole(store: Store, path: str) -> bool:
    """Return whether a sealed file is there and undamaged."""
    try:
        unseal(store.read(path), path)
    except (FileNotFoundError, CheckpointError):
        return False
    return True


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST_SIZE).digest()
