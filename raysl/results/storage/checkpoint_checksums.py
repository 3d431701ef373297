"""Bytes with the digest that tells whether they are still whole.  Torch-free."""

import hashlib

from raysl.errors import CheckpointError
from raysl.results.storage.store import Store, warn_damaged

MAGIC, MAGIC_1 = b"raysl2\n", b"raysl1\n"  # in the first, the digest was of the payload alone
DIGEST_SIZE = 16


def add_checksum(payload: bytes, path: str) -> bytes:
    """Return a payload behind raysl's mark and the digest of the payload and of its path in the results folder."""
    return MAGIC + _digest(path.encode(), b"\n", payload) + payload


def checked_payload(content: bytes, path: str, address: str) -> bytes:
    """Return the payload behind a checksum.

    path: in the results folder; another file's content there counts as damage.  address: for the message.
    Raises CheckpointError where they are damaged or not raysl's.
    """
    mark, rest = content[: len(MAGIC)], content[len(MAGIC) :]
    if mark not in (MAGIC, MAGIC_1):
        raise CheckpointError(f"{address}: not a checkpoint of raysl (it begins with {content[:8]!r})")
    digest, payload = rest[:DIGEST_SIZE], rest[DIGEST_SIZE:]
    if digest != _digest(*(() if mark == MAGIC_1 else (path.encode(), b"\n")), payload):
        raise CheckpointError(
            f"{address}: damaged, or another trial's: the digest of its {len(content)} bytes is not the one there"
        )
    return payload


def is_whole(store: Store, path: str) -> bool:
    """Return whether a file with a checksum is there and undamaged (damage is logged, with the path)."""
    try:
        checked_payload(store.read(path), path, store.address(path))
    except FileNotFoundError:
        return False
    except CheckpointError as error:
        warn_damaged(store.address(path), str(error).partition(": ")[2])
        return False
    return True


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for part in parts:
        digest.update(part)
    return digest.digest()
