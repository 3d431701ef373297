"""A YAML file as plain values, with the place that each value comes from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raysl.errors import UserError

Path_ = tuple[str, ...]

# YAML 1.2's numbers.  PyYAML follows 1.1: it reads 1e-3 as a string, 1:30 as 90 in base 60, and `no` as false.
INT = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool")}


class ConfigError(UserError):
    """A mistake in an experiment's YAML or in an override of it."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's numbers and truth values."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own, per first character)
        first: [(tag, pattern) for tag, pattern in pairs if tag not in REPLACED]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", BOOL, list("tTfF"))


@dataclass(frozen=True)
class Document:
    """Nested plain values and, by path, the place that each was written at (`file.yaml:12`, `--set a.b=1`)."""

    values: dict[str, Any]
    places: Mapping[Path_, str]

    def place(self, path: Path_) -> str:
        """Return the place of a path, or of the nearest one above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, "experiment")


def dotted(path: Path_) -> str:
    """Return `a.b.c` for a path."""
    return ".".join(path)


def read_document(file: Path) -> Document:
    """Read a YAML file.

    Raises ConfigError where it is missing, not YAML, not a mapping, or names a key twice.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        near = sorted(path.name for path in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        hint = f"; {file.parent} holds: {', '.join(near)}" if near else ""
        raise ConfigError(f"{file}: cannot be read ({_reason(error)}){hint}") from None
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{_yaml_place(file, error)}: not valid YAML: {_yaml_problem(error)}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{file}:1: an experiment is a mapping of keys to values, not {type(values).__name__}")
    places: dict[Path_, str] = {(): f"{file}:1"}
    try:
        _record_places(node, (), str(file), places)
    except RecursionError:
        raise ConfigError(f"{file}:1: an alias (*) stands within its own anchor (&)") from None
    return Document(values, places)


def parse(text: str) -> Any:
    """Return the plain value of a YAML text; nothing in it is executed."""
    return yaml.load(text, Loader=_Loader)


def _record_places(node: yaml.Node, path: Path_, file: str, places: dict[Path_, str]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            below = (*path, str(key.value))
            if key.value in seen:
                raise ConfigError(f"{file}:{key.start_mark.line + 1}: {dotted(below)}: this key is given twice")
            seen.add(key.value)
            places[below] = f"{file}:{key.start_mark.line + 1}"
            _record_places(value, below, file, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[(*path, str(index))] = f"{file}:{item.start_mark.line + 1}"
            _record_places(item, (*path, str(index)), file, places)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "not UTF-8 text"


def _yaml_place(file: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{file}:{mark.line + 1}" if mark else str(file)


def _yaml_problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]
