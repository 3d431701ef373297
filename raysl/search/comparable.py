"""Whether training losses of different stages mean the same."""

from collections.abc import Mapping
from typing import Any

from raysl import methods
from raysl.errors import quoted


def loss_trouble(one: Mapping[str, Any], other: Mapping[str, Any], within: str = "method") -> str:
    """Return why the training losses of two methods cannot be compared; empty where they can.

    one, other: the settings of the methods, as trials' specs have them.  within: the key that these stand under.
    """
    name = one.get("name")
    if name != other.get("name") or name not in methods.names():
        return f"{within} is {name} and {other.get('name')}, whose losses mean different things"
    facts = methods.describe(str(name))
    for key in facts.shapes_loss:
        default = facts.hyperparameters[key][1]  # of a trial that is older than the key
        values = [settings.get(key, default) for settings in (one, other)]
        if values[0] != values[1]:
            return f"{within}.{key} is {quoted(values[0])} and {quoted(values[1])}, which changes what the loss means"
    nested = (loss_trouble(one[key], other[key], f"{within}.{key}") for key in facts.nested)
    return next(filter(None, nested), "")
