"""The metadata that Parquet files carry: names of classes, as raysl, polars and HuggingFace write them."""

import json
from pathlib import Path
from typing import Any

from raysl.errors import DataError


def metadata_of(file: Any) -> dict[bytes, bytes]:
    """Return a file's key-value metadata, which polars and others write, overridden by that of its Arrow schema."""
    return {**(file.metadata.metadata or {}), **(file.schema_arrow.metadata or {})}


def class_names_of(path: Path, metadata: dict[bytes, bytes], label: str = "label") -> tuple[str, ...]:
    """Return the class names, from `class_names` or from HuggingFace's ClassLabel of the label column.

    Raises DataError if both are missing, they differ, or they are not a list of at least 2 names.
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
    """Return HuggingFace's description of each column; empty if the file has none.

    Raises DataError if it is not JSON.
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
