"""Learning methods, one file each; the file's name is the method's name.

The catalogue reads the files' text, so that an experiment can be checked without waiting for torch.
"""

import ast
import builtins
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import annotated_types
from pydantic import create_model

from raysl.settings import Settings

if TYPE_CHECKING:
    from raysl.methods._method import Method
    from raysl.models.encoder import Encoder

FOLDER = Path(__file__).parent
NESTED = "Method"  # the annotation of a hyperparameter that is itself a method
WORDS = vars(builtins) | vars(typing) | vars(annotated_types)


@dataclass(frozen=True)
class MethodFacts:
    """What the catalogue knows of a method.

    hyperparameters: name -> (annotation, default); the default is `...` where one must be given.
    nested: hyperparameters that are methods themselves, each of unlabelled images alone.
    streams: the streams of its views; none of a method that trains nothing.
    shapes_loss: hyperparameters that change what the training loss means.
    """

    name: str
    summary: str
    hyperparameters: Mapping[str, tuple[Any, Any]]
    nested: tuple[str, ...]
    streams: tuple[str, ...]
    shapes_loss: tuple[str, ...]

    @property
    def trains(self) -> bool:
        """Whether there is anything that it learns from."""
        return bool(self.streams)


@cache
def names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[!_]*.py")))


@cache
def pretexts() -> tuple[str, ...]:
    """Return the methods that learn from unlabelled images alone, and so can be part of another."""
    return tuple(name for name in names() if describe(name).streams == ("unlabelled",))


@cache
def classifiers() -> tuple[str, ...]:
    """Return the methods that learn the classes of labelled images, and so can `classify`."""
    return tuple(name for name in names() if "labelled" in describe(name).streams)


def class_name(name: str) -> str:
    """Return the class that a method's file holds: `barlow_twins` -> `BarlowTwins`."""
    return "".join(word.capitalize() for word in name.split("_"))


@cache
def describe(name: str) -> MethodFacts:
    """Read a method's facts from its file, without importing it."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    definition = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name(name))
    arguments = next(n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__").args
    annotations = {a.arg: ast.unparse(a.annotation) for a in arguments.kwonlyargs if a.annotation}
    defaults = {
        a.arg: ... if default is None else ast.literal_eval(default)
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }
    return MethodFacts(
        name=name,
        summary=(ast.get_docstring(definition) or "").split("\n")[0],
        hyperparameters={
            key: (Any if text == NESTED else eval(text, dict(WORDS)), defaults[key])  # our own source, not a user's
            for key, text in annotations.items()
        },
        nested=tuple(key for key, text in annotations.items() if text == NESTED),
        streams=_class_tuple(definition, "streams"),
        shapes_loss=_class_tuple(definition, "shapes_loss"),
    )


def _class_tuple(definition: ast.ClassDef, name: str) -> tuple[str, ...]:
    for node in definition.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return tuple(ast.literal_eval(node.value))
    return ()


@cache
def settings_model(name: str) -> type[Settings]:
    """Return the settings model of a method's hyperparameters, its name included."""
    fields: dict[str, Any] = dict(describe(name).hyperparameters)
    return create_model(class_name(name), __base__=Settings, name=(str, ...), **fields)


def loss_shaping_keys(settings: Mapping[str, Any]) -> set[str]:
    """Return the dotted hyperparameters of a method, nested ones included, that change what its loss means."""
    facts = describe(settings["name"])
    keys = set(facts.shapes_loss)
    for nested in facts.nested:
        keys |= {f"{nested}.{key}" for key in loss_shaping_keys(settings[nested])}
    return keys


def build(settings: Mapping[str, Any], encoder: "Encoder", num_classes: int) -> "Method":
    """Build a method around an encoder; methods nested in it share the encoder.

    settings: `{"name": ..., hyperparameter: value, ...}`, as an experiment's YAML gives them.
    """
    facts = describe(settings["name"])
    hyperparameters = {key: value for key, value in settings.items() if key != "name"}
    for nested in facts.nested:
        hyperparameters[nested] = build(settings[nested], encoder, num_classes)
    module = import_module(f"raysl.methods.{facts.name}")
    method: Method = getattr(module, class_name(facts.name))(encoder, num_classes, **hyperparameters)
    return method
