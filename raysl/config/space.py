"""The search space of a stage: the keys whose value is `{grid: [...]}`."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, get_args

from pydantic import BaseModel

from raysl import methods
from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.errors import choices
from raysl.search.experiment import Space
from raysl.training import settings as training

GROUPS = {
    "optimizer": (training.SGD, training.Adam, training.AdamW, training.LARS),
    "schedule": (training.Constant, training.Cosine, training.Exponential),
}


def read_space(values: Mapping[str, Any], path: Path_, document: Document) -> tuple[Space, dict[str, Any]]:
    """Return a stage's space, and its values with each grid replaced by its first value.

    Raises ConfigError for a grid that is empty, repeats a value, or stands on a key that is not searchable.
    """
    searchable = searchable_keys(values)
    space: Space = {}
    for below, grid in _grids(values, ()):
        key, here = dotted(below), (*path, *below)
        place = f"{document.place(here)}: {dotted(here)}"
        if key not in searchable and (below[-1] == "name" or _is_known(values, below[0])):
            raise ConfigError(f"{place}: a grid on a key that is not searchable; {choices(key, searchable)}")
        space[key] = _grid_values(grid, place)
    return space, substitute(values, {key: points[0] for key, points in space.items()})


def refuse_other_grids(document: Document) -> None:
    """Raise ConfigError for a grid outside the stages."""
    for path, _ in _grids({key: value for key, value in document.values.items() if key != "stages"}, ()):
        raise ConfigError(
            f"{document.place(path)}: {dotted(path)}: a grid on a key that is not searchable; "
            "only keys of a stage's method, optimizer and schedule, its epochs and its batch_size are"
        )


def searchable_keys(values: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys of a stage that may hold a grid."""
    keys = ["epochs", "batch_size"]
    for group, models in GROUPS.items():
        fields = next((m.model_fields for m in models if _name(values, group) in _tags(m)), {})
        keys += [f"{group}.{field}" for field in fields if field != "name"]
    return keys + [f"method.{key}" for key in _method_keys(values.get("method"))]


def _is_known(values: Mapping[str, Any], group: str) -> bool:
    """Return whether a group's keys can be told: under an unknown name, the name is what is wrong."""
    if group == "method":
        return _name(values, group) in methods.names()
    return any(_name(values, group) in _tags(model) for model in GROUPS.get(group, ())) or group not in GROUPS


def _name(values: Mapping[str, Any], group: str) -> Any:
    chosen = values.get(group)
    return chosen.get("name") if isinstance(chosen, Mapping) else None


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["name"].annotation)


def substitute(values: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of nested values with those at the dotted keys replaced."""
    filled = deepcopy(dict(values))
    for key, value in params.items():
        *above, last = key.split(".")
        owner = filled
        for part in above:
            owner = owner[part]
        owner[last] = value
    return filled


def _method_keys(method: Any) -> Iterator[str]:
    name = method.get("name") if isinstance(method, Mapping) else None
    if name not in methods.names():
        return
    facts = methods.describe(str(name))
    for key in facts.hyperparameters:
        if key in facts.nested:
            yield from (f"{key}.{below}" for below in _method_keys(method.get(key)))
        else:
            yield key


def _grids(values: Mapping[str, Any], path: Path_) -> Iterator[tuple[Path_, Mapping[str, Any]]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            if "grid" in value:
                yield (*path, str(key)), value
            else:
                yield from _grids(value, (*path, str(key)))


def _grid_values(grid: Mapping[str, Any], place: str) -> tuple[Any, ...]:
    points = grid["grid"]
    if len(grid) > 1:
        raise ConfigError(f"{place}: a grid stands alone, without {', '.join(repr(k) for k in grid if k != 'grid')}")
    if not isinstance(points, list) or not points:
        raise ConfigError(f"{place}: a grid is a list of at least one value, not {points!r}")
    if any(points.index(point) != index for index, point in enumerate(points)):
        raise ConfigError(f"{place}: a grid names each value once: {points!r}")
    if any(isinstance(point, (dict, list)) for point in points):
        raise ConfigError(f"{place}: a grid holds plain values: {points!r}")
    return tuple(points)
