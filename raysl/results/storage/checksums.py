"""Digests that show whether content that is read is the content that was written."""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

_BYTES = 16
_KEY, _BLANK = b"raysl.digest", b"the digest of this file is here."  # as long as a digest in hex digits

# What reading a damaged or a forged file raises.
DAMAGE = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)
CHANGED = "its digest is not the one written with it"


def digest_of(*facts: Any) -> str:
    """Return the digest of plain values, 32 hex digits; writing them as JSON and reading them back keeps it."""
    return _digest(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())


def digest_of_pieces(pieces: Iterable[bytes]) -> str:
    """Return the digest of bytes that come in pieces, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def arrow_file(table: pa.Table) -> Iterator[bytes]:
    """Yield a table as an Arrow file, piece by piece, with a digest of the whole file in the schema's metadata."""
    yield from _arrow_pieces(table, digest_of_pieces(_arrow_pieces(table, _BLANK)).encode())


def _arrow_pieces(table: pa.Table, digest: bytes) -> Iterator[bytes]:
    # The digest is in the header, before the content: the file is made twice, to never hold all of it in memory.
    sink = _Pieces()
    schema = table.schema.with_metadata((table.schema.metadata or {}) | {_KEY: digest})
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in table.replace_schema_metadata(schema.metadata).to_batches():
            writer.write_batch(batch)
            yield sink.taken()
    yield sink.taken()


class _Pieces(io.RawIOBase):
    """A file for writing that holds only the pieces that have not been taken yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, content: Any) -> int:
        self._pieces.append(bytes(content))
        self._size += len(self._pieces[-1])
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content


def read_arrow_file(content: bytes) -> pa.Table:
    """Return the table of an Arrow file; a file without a digest, of an earlier version, is not checked.

    Raises ValueError if the content does not match its digest, ValueError or OSError if it is no Arrow file.
    """
    file = pa.ipc.open_file(pa.BufferReader(content))
    metadata = dict(file.schema.metadata or {})
    digest = metadata.pop(_KEY, None)
    if digest is not None and _digest(content.replace(digest, _BLANK)).encode() != digest:
        raise ValueError(CHANGED)
    table = file.read_all().replace_schema_metadata(metadata)
    table.validate(full=True)
    return table


def with_digest(table: pa.Table) -> pa.Table:
    """Return a small table with a digest of its values in the schema's metadata."""
    return table.replace_schema_metadata({_KEY: digest_of(table.to_pylist())})


def checked_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return a small table's rows; raises ValueError if they do not match its digest.

    A table without a digest, of an earlier version, is not checked.
    """
    table.validate(full=True)
    rows: list[dict[str, Any]] = table.to_pylist()
    digest = (table.schema.metadata or {}).get(_KEY)
    if digest is not None and digest.decode() != digest_of(rows):
        raise ValueError(CHANGED)
    return rows


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_BYTES).hexdigest()
