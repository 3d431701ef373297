"""Learning methods, one file each; the file's name is the method's name.

The catalogue reads the files' text, so that an experiment can be checked without importing torch.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from raysl.errors import MethodError
from raysl.methods._facts import MethodFacts, class_name, read_facts
from raysl.settings import Settings

if TYPE_CHECKING:
    from raysl.methods._method import Method
    from raysl.models.encoder import Encoder

FOLDER = Path(__file__).parent


@cache
def names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[!_]*.py")))


@cache
def pretexts() -> tuple[str, ...]:
    """Return the methods that learn whole unlabelled images alone, and so can be part of another."""
    found = ((name, describe(name)) for name in names())
    return tuple(name for name, facts in found if facts.streams == ("unlabelled",) and facts.level == "image")


@cache
def classifiers() -> tuple[str, ...]:
    """Return the methods that learn the classes of labelled images, and so can `classify`."""
    return tuple(name for name in names() if "labelled" in describe(name).streams and describe(name).level == "image")


@cache
def segmenters() -> tuple[str, ...]:
    """Return the methods that learn the masks of labelled images, and so can `segment`."""
    return tuple(name for name in names() if "labelled" in describe(name).streams and describe(name).level == "pixel")


def shows_labelled_as_they_are(name: str) -> bool:
    """Return whether a method can show labelled images without augmentation: it has none of them, or `views`."""
    facts = describe(name)
    return "labelled" not in facts.streams or "views" in facts.hyperparameters


@cache
def describe(name: str) -> MethodFacts:
    """Return a method's facts, read from its file without importing it.

    Raises MethodError, with the file and the line, if they cannot be read.
    """
    return read_facts(FOLDER / f"{name}.py")


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
    Raises MethodError if its views are not of exactly the streams that it declares: only those are loaded.
    """
    facts = describe(settings["name"])
    hyperparameters = {key: value for key, value in settings.items() if key != "name"}
    for nested in facts.nested:
        hyperparameters[nested] = build(settings[nested], encoder, num_classes)
    module = import_module(f"raysl.methods.{facts.name}")
    method: Method = getattr(module, class_name(facts.name))(encoder, num_classes, **hyperparameters)
    if (seen := {view.stream for view in method.views().values()}) != set(facts.streams):
        raise MethodError(f"{module.__file__}: views of {sorted(seen)}, and streams has {sorted(facts.streams)}")
    for view_name, view in method.views().items():
        if facts.level == "pixel" and view.stream == "labelled" and view.make_masks is None:
            raise MethodError(f"{module.__file__}: view {view_name} of labelled images has no make_masks")
    return method
