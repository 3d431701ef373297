"""A YAML file as plain values, with the place that each value comes from."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from raysl.errors import UserError, cut, dotted, printable, quoted
from raysl.plain_yaml import Path_, PlainYamlError, read_file, read_one

__all__ = ["ConfigError", "Document", "Path_", "dotted", "read_document"]

MOST_NEAR = 20  # files of a folder in a message


class ConfigError(UserError):
    """A mistake in an experiment's YAML or in an override of it."""


@dataclass(frozen=True)
class Document:
    """Nested plain values and, by path, the place that each was written at (`file.yaml:12`, `--set a.b=1`).

    text: of the file; of a dict, the same as YAML.
    """

    values: dict[str, Any]
    places: Mapping[Path_, str]
    text: str = ""

    def place(self, path: Path_) -> str:
        """Return the place of a path, or of the nearest one above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "experiment")


def read_document(file: Path) -> Document:
    """Return the values of a YAML file and their places.

    Raises ConfigError if the file is missing, not YAML, larger than the bounds, not a mapping, or names a key twice.
    """
    name = cut(printable(str(file)), 1000)
    try:
        text = read_file(file)
        plain = _read(text)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error}){_near(file)}") from None
    except PlainYamlError as error:
        raise ConfigError(f"{name}:{error.line}: {error}") from None
    if not isinstance(plain.value, dict):
        raise ConfigError(f"{name}:1: an experiment is a mapping of keys to values, not {quoted(plain.value)}")
    return Document(plain.value, {path: f"{name}:{line}" for path, line in plain.lines.items()}, text)


_read = lru_cache(maxsize=8)(read_one)  # the cells of a table read the same experiment often; no caller changes it


def _near(file: Path) -> str:
    """Return the names of the YAML files beside a file, for a message."""
    folder = file.parent
    near = sorted(path.name for path in folder.glob("*.yaml")) if os.path.isdir(folder) else []
    more = [f"and {len(near) - MOST_NEAR} more"] if len(near) > MOST_NEAR else []
    return f"; {folder} holds: {', '.join([*near[:MOST_NEAR], *more])}" if near else ""
