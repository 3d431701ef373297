"""Digests that tell whether what is read is still what was written."""

import hashlib
import json
from typing import Any

import pyarrow as pa

_BYTES = 16
_KEY, _BLANK = b"raysl.digest", b"the digest of this file is here."  # as long as a digest in hex digits

CHANGED = "its digest is not the one written with it"


def digest_of(*facts: Any) -> str:
    """Return 32 hex digits of plain values, the same for those that JSON gives back."""
    return _digest(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())


def arrow_file(table: pa.Table) -> bytes:
    """Return a table as an Arrow file, with a digest of the whole file in the schema's metadata."""
    table = table.replace_schema_metadata((table.schema.metadata or {}) | {_KEY: _BLANK})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    blank = bytes(sink.getvalue())
    return blank.replace(_BLANK, _digest(blank).encode())


def read_arrow_file(content: bytes) -> pa.Table:
    """Return the table of an Arrow file; one without a digest, of an earlier version, is taken as it is.

    Raises ValueError where it is not what was written with its digest, ValueError or OSError where it is none at all.
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
    """Return a small table's rows; ValueError where they are not those that its digest is of.

    One without a digest, of an earlier version, is taken as it is.
    """
    table.validate(full=True)
    rows: list[dict[str, Any]] = table.to_pylist()
    digest = (table.schema.metadata or {}).get(_KEY)
    if digest is not None and digest.decode() != digest_of(rows):
        raise ValueError(CHANGED)
    return rows


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_BYTES).hexdigest()
