"""The meaning and the unit of each key of the settings, from the `key [unit]: meaning` entries of docstrings."""

import ast
import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import BaseModel

from raysl import methods
from raysl.methods._facts import class_name

_ENTRY = re.compile(r"(?:^|(?<=  ))(\w+(?:, \w+)*)(?: \[([^]]+)\])?: ", re.MULTILINE)


@dataclass(frozen=True)
class Meaning:
    """What a key is for, as one line; its unit is empty if it has none."""

    text: str
    unit: str = ""


def description(model: type[BaseModel]) -> list[str]:
    """Return the paragraphs of a model's docstring that hold no entries, each as one line."""
    paragraphs = (inspect.getdoc(model) or "").split("\n\n")
    return [" ".join(one.split()) for one in paragraphs if not read_entries(one, model.model_fields)]


def meanings(model: type[BaseModel]) -> dict[str, Meaning]:
    """Return the meanings of a model's keys, those of its bases included; a key without an entry is left out."""
    found: dict[str, Meaning] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one.__doc__:
            found |= read_entries(inspect.cleandoc(one.__doc__), model.model_fields)
    return found


def method_meanings(name: str) -> dict[str, Meaning]:
    """Return the meanings of a method's hyperparameters, read from its file without importing it."""
    tree = ast.parse((methods.FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    wanted = class_name(name)
    docstrings = [
        ast.get_docstring(node) for node in tree.body if isinstance(node, ast.ClassDef) and node.name == wanted
    ]
    return read_entries(docstrings[0] or "", methods.describe(name).hyperparameters)


def read_entries(docstring: str, keys: Collection[str]) -> dict[str, Meaning]:
    """Return the entries of a docstring for known keys.

    An entry begins a line or follows two spaces, and ends before the next one or at the end of the paragraph.
    """
    found: dict[str, Meaning] = {}
    for paragraph in docstring.split("\n\n"):
        entries = [entry for entry in _ENTRY.finditer(paragraph) if set(entry[1].split(", ")) <= set(keys)]
        ends = [*(entry.start() for entry in entries[1:]), len(paragraph)]
        for entry, end in zip(entries, ends, strict=False):
            meaning = Meaning(" ".join(paragraph[entry.end() : end].split()), entry[2] or "")
            found |= dict.fromkeys(entry[1].split(", "), meaning)
    return found
