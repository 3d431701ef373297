"""Which code runs: raysl's own sources as this process loaded them, and which of them decide a trial's numbers."""

import ast
import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
TRIAL = ("raysl.training.trial", "raysl.training.scoring")  # train and score a trial of any method
# Modules that decide no number: storage, messages, this one, and how images get here (their digest is in the spec).
APART = re.compile(
    r"raysl$|raysl\.(results|errors|outgoing|sources)\b|raysl\.training\.code$|"
    r"raysl\.data\.(registry\b|progress$|storage\.(paths|scan|shipped)$)"
)


def _read() -> Mapping[str, bytes]:
    texts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        texts[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_bytes()
    return texts


_SOURCES = _read()  # at import: a later edit is not what runs


@dataclass(frozen=True)
class Libraries:
    """The raysl and the torch that a process imports.

    raysl, torch: the paths they are imported from.  code: digest of all of raysl's sources.
    torch_version: None if it is unknown.
    """

    raysl: str
    code: str
    torch: str
    torch_version: str | None

    def same(self, other: "Libraries") -> bool:
        """Return whether code and torch's version are equal; the paths may differ."""
        return (self.code, self.torch_version) == (other.code, other.torch_version)

    def __str__(self) -> str:
        return f"raysl {self.code} of {self.raysl} with torch {self.torch_version or 'of no version'} of {self.torch}"


def copy_package(folder: Path) -> None:
    """Write the package into a folder as this process loaded it, without later edits."""
    place = folder / PACKAGE.name
    shutil.copytree(PACKAGE, place)
    for module, text in _SOURCES.items():
        path = folder / _file(module)
        if not path.is_file() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)


@cache
def libraries() -> Libraries:
    """Return the libraries that this process imports; torch is located, not imported."""
    found = importlib.util.find_spec("torch")
    place = Path(found.origin) if found is not None and found.origin else None
    code = _digest({name: hashlib.blake2b(text).hexdigest() for name, text in _SOURCES.items()})
    return Libraries(str(PACKAGE), code, str(place or "nowhere"), _version(place))


def _version(module: Path | None) -> str | None:
    """Return torch's version without its build (the `+cpu` of `2.15.0+cpu`), read from `version.py` beside it."""
    if module is None or not (file := module.with_name("version.py")).is_file():
        return None
    found = re.search(r"^__version__ *= *['\"]([^'\"+]+)", file.read_text(encoding="utf-8", errors="replace"), re.M)
    return found[1] if found else None


def method_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a method and of those that are nested in it, from its settings."""
    nested = {name for value in settings.values() if isinstance(value, Mapping) for name in method_names(value)}
    return tuple(sorted(nested | {str(settings["name"])} if "name" in settings else nested))


@cache
def deciding(methods: tuple[str, ...]) -> Mapping[str, str]:
    """Return the files that decide the numbers of a trial of these methods, each with the digest of its syntax tree.

    Files are found by following imports. Comments, docstrings and formatting do not change a digest.
    """
    reached = _reached([*TRIAL, *(f"raysl.methods.{name}" for name in methods)])
    return {_file(module): _meaning(module) for module in sorted(reached)}


def code_digest(files: Mapping[str, str], start: str | None) -> str:
    """Return 16 hex digits that name the code of a trial.

    files: as `deciding` returns them.
    start: digest of the code of the trial whose weights it starts from; None if there is none or it is unknown.
    """
    return _digest([files, start])


def _reached(modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        module = waiting.pop()
        if module in _SOURCES and module not in found and not APART.match(module):
            found.add(module)
            waiting += _imported(_tree(module))
    return found


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_SOURCES[module])


def _file(module: str) -> str:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return str((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).relative_to(PACKAGE.parent))


@cache
def _meaning(module: str) -> str:
    return _digest(_plain(_tree(module)))


def _plain(node: Any) -> Any:
    """Return a syntax tree as lists, without empty fields: those that later versions of Python add change nothing."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: _plain(value) for name, value in ast.iter_fields(_undocumented(node)) if value not in (None, [])}
    return [type(node).__name__, fields]


def _undocumented(node: ast.AST) -> ast.AST:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return type(node)(**{**dict(ast.iter_fields(node)), "body": node.body[1:]})
    return node


def _digest(facts: Any) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
