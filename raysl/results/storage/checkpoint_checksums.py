"""Files with a checksum that tells whether they are whole: checkpoints, and models as safetensors.  Torch-free.

A safetensors file is 8 bytes with the size of its header, the header as JSON, and the tensors' bytes.  The checksum is
the entry `digest` of the header's metadata, so that other programs read the file as it is.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from raysl.errors import CheckpointError
from raysl.results.storage.store import Store, warn_damaged

MAGIC, MAGIC_1 = b"raysl2\n", b"raysl1\n"  # in the first, the digest was of the payload alone
DIGEST_SIZE = 16
SAFETENSORS = ".safetensors"
_SIZE_BYTES = 8
_DIGEST = re.compile(rb'"digest":"([0-9a-f]{%d})"' % (2 * DIGEST_SIZE))  # quotes within a value are escaped
_NO_DIGEST = "0" * (2 * DIGEST_SIZE)


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
        raise _damaged(content, address)
    return payload


def add_metadata(payload: bytes, metadata: Mapping[str, str], path: str) -> bytes:
    """Return a safetensors file with metadata and a checksum; the same content gives the same bytes.

    payload: the file without metadata.  path: of the file in its results folder.
    """
    size, header = _header(payload)
    entries = {"__metadata__": {"format": "pt", **metadata, "digest": _NO_DIGEST}, **json.loads(header)}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _SIZE_BYTES)
    content = b"".join([len(text).to_bytes(_SIZE_BYTES, "little"), text, memoryview(payload)[_SIZE_BYTES + size :]])
    digest = _digest(path.encode(), b"\n", content).hex().encode()
    start, end = _digest_span(content)
    return b"".join([memoryview(content)[:start], digest, memoryview(content)[end:]])


def checked_metadata(content: bytes, path: str, address: str) -> dict[str, str]:
    """Return the metadata of a safetensors file with a checksum; arguments and errors as of `checked_payload`."""
    start, end = _digest_span(content)
    if start == end:
        raise CheckpointError(f"{address}: damaged, or not a model of raysl: its {len(content)} bytes have no digest")
    view = memoryview(content)
    digest = _digest(path.encode(), b"\n", view[:start], _NO_DIGEST.encode(), view[end:]).hex().encode()
    if digest != content[start:end]:
        raise _damaged(content, address)
    try:
        metadata = json.loads(_header(content)[1])["__metadata__"]
        return {str(key): str(value) for key, value in metadata.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{address}: refused, its metadata cannot be read: {error}") from None


def is_whole(store: Store, path: str) -> bool:
    """Return whether a file with a checksum is there and undamaged (damage is logged, with the path)."""
    check = checked_metadata if path.endswith(SAFETENSORS) else checked_payload
    try:
        check(store.read(path), path, store.address(path))
    except FileNotFoundError:
        return False
    except CheckpointError as error:
        warn_damaged(store.address(path), str(error).partition(": ")[2])
        return False
    return True


def _header(content: bytes) -> tuple[int, bytes]:
    """Return the size that a safetensors file gives for its header, and the header."""
    size = int.from_bytes(content[:_SIZE_BYTES], "little")
    return size, content[_SIZE_BYTES : _SIZE_BYTES + size]


def _digest_span(content: bytes) -> tuple[int, int]:
    """Return where the digest of a safetensors file begins and ends; the same place twice if it has none."""
    found = list(_DIGEST.finditer(_header(content)[1]))
    start, end = found[0].span(1) if len(found) == 1 else (0, 0)
    return _SIZE_BYTES + start, _SIZE_BYTES + end


def _damaged(content: bytes, address: str) -> CheckpointError:
    return CheckpointError(
        f"{address}: damaged, or another trial's: the digest of its {len(content)} bytes is not the one there"
    )


def _digest(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for part in parts:
        digest.update(part)
    return digest.digest()
