"""The search space of a stage: the keys whose value is `{grid: [...]}`, `{uniform: [low, high]}` and the like."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from raysl import methods
from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.errors import choices, quoted
from raysl.search.space import Choice, Dimension, Grid, IntRange, Range, Space
from raysl.training import settings as training

MOST = 1e15  # below this, a float represents whole numbers exactly
MOST_VALUES = 500  # of a grid or a choice
KINDS = ("grid", "choice", "uniform", "loguniform", "int")
GROUPS = {
    "optimizer": (training.SGD, training.Adam, training.AdamW, training.LARS),
    "schedule": (training.Constant, training.Cosine, training.Exponential),
}


def read_space(values: Mapping[str, Any], path: Path_, document: Document) -> Space:
    """Return a stage's searched keys, each with its dimension.

    Raises ConfigError for a dimension that is empty or malformed, or stands on a key that is not searchable.
    """
    searchable = searchable_keys(values)
    space: dict[str, Dimension] = {}
    for below, written in _dimensions(values, ()):
        key, here = dotted(below), (*path, *below)
        place = f"{document.place(here)}: {dotted(here)}"
        if key not in searchable and (below[-1] == "name" or _is_known(values, below[0])):
            raise ConfigError(f"{place}: {_kind(written)} on a key that is not searchable; {choices(key, searchable)}")
        space[key] = _read(written, place)
    return space


def is_dimension(value: Any) -> bool:
    """Return whether a value of the YAML stands for several: a grid or a range."""
    return isinstance(value, Mapping) and any(kind in value for kind in KINDS)


def refuse_other_grids(document: Document) -> None:
    """Raise ConfigError for a grid outside the stages."""
    for path, written in _dimensions({key: value for key, value in document.values.items() if key != "stages"}, ()):
        raise ConfigError(
            f"{document.place(path)}: {dotted(path)}: {_kind(written)} on a key that is not searchable; "
            "only keys of a stage's method, optimizer and schedule, its epochs, batch_size and start_epoch are"
        )


def searchable_keys(values: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys of a stage that may hold a grid."""
    method = _name(values, "method")
    if method in methods.names() and not methods.describe(method).trains:
        return ["start_epoch"]
    keys = ["epochs", "batch_size", "start_epoch"]
    for group, models in GROUPS.items():
        fields = next((m.model_fields for m in models if _name(values, group) in _tags(m)), {})
        keys += [f"{group}.{field}" for field in fields if field != "name"]
    return keys + [f"method.{key}" for key in _method_keys(values.get("method"))]


def _is_known(values: Mapping[str, Any], group: str) -> bool:
    """Return whether a group's keys are known; they are not under an unknown name, which is then the mistake."""
    if group == "method":
        return _name(values, group) in methods.names()
    return any(_name(values, group) in _tags(model) for model in GROUPS.get(group, ())) or group not in GROUPS


def _name(values: Mapping[str, Any], group: str) -> Any:
    chosen = values.get(group)
    return chosen.get("name") if isinstance(chosen, Mapping) else None


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["name"].annotation)


def substitute(values: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with those at the dotted keys replaced; other values are shared with the input."""
    filled = dict(values)
    for key, value in params.items():
        *above, last = key.split(".")
        owner = filled
        for part in above:
            owner[part] = dict(owner[part])
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


def _dimensions(values: Mapping[str, Any], path: Path_) -> Iterator[tuple[Path_, Mapping[str, Any]]]:
    for key, value in values.items():
        if is_dimension(value):
            yield (*path, str(key)), value
        elif isinstance(value, Mapping):
            yield from _dimensions(value, (*path, str(key)))


def _kind(written: Mapping[str, Any]) -> str:
    kind = next(kind for kind in KINDS if kind in written)
    return f"{'an' if kind == 'int' else 'a'} {kind}"


def _read(written: Mapping[str, Any], place: str) -> Dimension:
    kind, *more = (key for key in (*KINDS, *written) if key in written)
    others = [quoted(key) for key in dict.fromkeys(more) if key != kind]
    if others:
        raise ConfigError(f"{place}: a {kind} stands alone, without {', '.join(others)}")
    given = written[kind]
    if kind in ("grid", "choice"):
        values = _values(given, f"{place}: a {kind}")
        return Grid(values) if kind == "grid" else Choice(values)
    return _range(given, kind, f"{place}: {kind}")


def _values(points: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(points, list) or not points:
        raise ConfigError(f"{place} is a list of at least one value, not {quoted(points)}")
    if len(points) > MOST_VALUES:
        raise ConfigError(f"{place} of {len(points):,} values; at most {MOST_VALUES:,}: a range takes its place")
    if any(points.index(point) != index for index, point in enumerate(points)):
        raise ConfigError(f"{place} names each value once: {quoted(points)}")
    if any(isinstance(point, (dict, list)) for point in points):
        raise ConfigError(f"{place} holds plain values: {quoted(points)}")
    if None in points:
        raise ConfigError(f"{place} cannot hold null: {quoted(points)}")
    return tuple(points)


def _range(ends: Any, kind: str, place: str) -> Range:
    whole = kind == "int"
    numbers = isinstance(ends, list) and all(isinstance(n, int if whole else (int, float)) for n in ends)
    if not numbers or len(ends) != 2 or any(isinstance(n, bool) or not abs(n) <= MOST for n in ends):
        raise ConfigError(
            f"{place} is [low, high], two {'whole ' if whole else ''}numbers of at most {MOST:g}, not {quoted(ends)}"
        )
    low, high = ends
    if low >= high:
        raise ConfigError(f"{place} is [low, high] with low below high, not {quoted(ends)}")
    if kind == "loguniform" and low <= 0:
        raise ConfigError(f"{place} is [low, high] with low above 0, not {low!r}: it is uniform in the logarithm")
    return IntRange(low, high) if whole else Range(float(low), float(high), log=kind == "loguniform")
