"""The metadata that Parquet files carry: names of classes, as raysl, polars and HuggingFace write them."""

import json
from pathlib import Path
from typing import Any

from raysl.errors import DataError


def metadata_of(file: Any) -> dict[bytes, bytes]:
    """Return the metadata of a file: what Arrow keeps with its schema, and before it what polars and others write."""
    return {**(file.metadata.metadata or {}), **(file.schema_arrow.metadata or {})}


def class_names_of(path: Path, metadata: dict[bytes, bytes], label: str = "label") -> tuple[str, ...]:
    """Return the names of the classes, from `class_names` or from HuggingFace's ClassLabel of the column of labels.

    Raises DataError where neither is there, the two differ, or are no list of at least 2 names.
    """
    own = _parsed(path, "class_names", metadata) if b"class_names" in metadata else None
    features = features_of(path, metadata)
    other = features.get(label, {}).get("names") if isinstance(features.get(label), dict) else None
    names = other if own is None else own
    if names is None:
        raise DataError(
            f"{path}: the schema metadata has no class_names, a JSON list of the classes, "
            f"nor HuggingFace's ClassLabel of column {label}"
        )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < 2:
        raise DataError(f"{path}: class_names in the schema metadata must be a JSON list of at least 2 names: {names}")
    if odd := [name for name in names if name.encode(errors="replace").decode() != name]:
        raise DataError(f"{path}: class_names in the schema metadata hold {odd[0]!r}, which is no text")
    if other is not None and other != names:
        raise DataError(
            f"{path}: class_names are {names} in the schema metadata and {other} in HuggingFace's; keep one"
        )
    return tuple(names)


def features_of(path: Path, metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Return what HuggingFace's metadata says of each column; nothing where there are none.

    Raises DataError where they are damaged.
    """
    found: Any = _parsed(path, "huggingface", metadata) if b"huggingface" in metadata else {}
    for key in ("info", "features"):
        found = found.get(key) or {} if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _parsed(path: Path, key: str, metadata: dict[bytes, bytes]) -> Any:
    try:
        return json.loads(metadata[key.encode()])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {key} in the schema metadata is no JSON") from error
