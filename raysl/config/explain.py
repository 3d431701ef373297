"""Pydantic's errors as messages for users: the place, the key, the value and the choices."""

import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union

from pydantic import BaseModel, ValidationError

from raysl.config.document import ConfigError, Document, Path_, dotted
from raysl.config.habits import elsewhere, meant, of_several, written_out
from raysl.errors import choices, quoted
from raysl.settings import members

Model = TypeVar("Model", bound=BaseModel)
MOST_SHOWN = 10
MAPPING_EXPECTED = ("model_type", "model_attributes_type", "dict_type")
TAGS = ("name", "scheduler")  # the keys that say which model of a union is meant


def validated(model: type[Model], values: Any, path: Path_, document: Document) -> Model:
    """Return the settings model of the values at a path of a document.

    Raises ConfigError with one line for each mistake.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        findings: dict[Path_, list[Any]] = {}
        raw = error.errors(include_url=False)
        misspelt = {finding["loc"][:-1] for finding in raw if finding["type"] == "extra_forbidden"}
        for finding in raw:
            if finding["type"] == "missing" and finding["loc"][:-1] in misspelt:
                continue  # the unknown key beside it is likely this one
            below = _written_path(finding["loc"], values, finding["type"] == "missing")
            findings.setdefault(below, []).append(finding)
        findings = _innermost(findings)
        lines = [
            _line(
                (*path, *below),
                [_explain(one, model, values, below) + _hint(one, (*path, *below), document) for one in _meant(found)],
                document,
            )
            for below, found in list(findings.items())[:MOST_SHOWN]
        ]
        more = [f"and {len(findings) - MOST_SHOWN} more"] if len(findings) > MOST_SHOWN else []
        raise ConfigError("\n".join([*lines, *more])) from None


def _innermost(findings: Mapping[Path_, list[Any]]) -> dict[Path_, list[Any]]:
    """Return findings without those that a mapping is of no other type, if one below says what is wrong with it."""

    def is_outer(path: Path_, found: list[Any]) -> bool:
        no_other = all(
            isinstance(one["input"], Mapping) and (one["type"] == "literal_error" or one["type"].endswith("_type"))
            for one in found
        )
        return no_other and any(other[: len(path)] == path != other for other in findings)

    return {path: found for path, found in findings.items() if not is_outer(path, found)}


def _meant(findings: list[Any]) -> list[Any]:
    """Return the findings of one value; mismatches of type only if no type of the union fits."""
    of_right_type = [finding for finding in findings if not _is_mismatch(finding)]
    return of_right_type or [one for one in findings if one["type"] == "literal_error"] or findings


def _is_mismatch(finding: Any) -> bool:
    """Return whether a value is of another type than those of the union that this finding is about."""
    is_word = isinstance(finding["input"], str | int | float | None)
    return finding["type"].endswith("_type") or (finding["type"] == "literal_error" and not is_word)


def _hint(finding: Any, path: Path_, document: Document) -> str:
    """Return a hint for a user of other tools, with a leading semicolon; empty if there is none."""
    kind, value = finding["type"], finding["input"]
    if kind == "extra_forbidden":
        hint = elsewhere(path, document)
    else:
        hint = written_out(value, path) if kind in MAPPING_EXPECTED else meant(value, path, document)
        hint = hint or of_several(value, path)
    return f"; {hint}" if hint else ""


def _line(path: Path_, texts: list[str], document: Document) -> str:
    return f"{document.place(path)}: {dotted(path) or 'experiment'}: {' or '.join(dict.fromkeys(texts))}"


def _written_path(location: tuple[int | str, ...], values: Any, missing: bool) -> Path_:
    """Return the keys of a pydantic location that the user wrote or left out; union tags are dropped."""
    path: list[str] = []
    for index, part in enumerate(location):
        if isinstance(values, Mapping):
            known = part in values
            if known or (missing and index == len(location) - 1):
                path.append(str(part))
            values = values[part] if known else values
        elif isinstance(values, list) and isinstance(part, int):
            path.append(str(part))
            values = values[part]
    return tuple(path)


def _explain(finding: Any, model: type[BaseModel], values: Any, path: Path_) -> str:
    kind, context, value = finding["type"], finding.get("ctx", {}), finding["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {choices(path[-1], valid_keys(model, path[:-1], values))}"
    if kind == "missing":
        return "this key must be given"
    if kind == "union_tag_not_found":
        return f"a {context['discriminator']} must be given; choices: {', '.join(_tags(model, path))}"
    if kind == "union_tag_invalid":
        key, tag = context["discriminator"].strip("'"), context["tag"]
        return f"unknown {key} {quoted(tag)}; {choices(str(tag), _tags(model, path))}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}{_or_mapping(model, path, values)}, not {quoted(value)}"
    if kind in ("too_short", "too_long"):
        bound = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        shown = f": {quoted(value)}" if len(value) <= MOST_SHOWN else ""
        return f"must have {bound} items, not {len(value)}{shown}"
    if kind in MAPPING_EXPECTED:
        return f"must be a mapping of keys to values, not {quoted(value)}"
    if kind == "string_pattern_mismatch":
        return f"must be letters, digits, dots, _ and -, and begin with a letter or a digit, not {quoted(value)}"
    text = (
        finding["msg"]
        .removeprefix("Value error, ")
        .replace("Input should be", "must be")
        .replace("String should", "must")
    )
    return f"{text}, not {quoted(value)}"


def _or_mapping(model: type[BaseModel], path: Path_, values: Any) -> str:
    """Return the mapping that may stand in place of a word, as text; empty where none may."""
    owners = members(_at(model, path, values)[0])
    return "".join(f" or {{{', '.join(f'{key}: ...' for key in owner.model_fields)}}}" for owner in owners)


def valid_keys(model: type[BaseModel], path: Path_, values: Any) -> list[str]:
    """Return the keys that a settings model takes at a path."""
    owner = _model_at(model, path, values)
    return [] if owner is None else list(owner.model_fields)


def _model_at(model: type[BaseModel], path: Path_, values: Any) -> type[BaseModel] | None:
    annotation, below = _at(model, path, values)
    return _pick(members(annotation), below)


def _at(model: type[BaseModel], path: Path_, values: Any) -> tuple[Any, Any]:
    """Return the annotation and the value at a path."""
    annotation: Any = model
    for part in path:
        owner = _pick(members(annotation), values)
        if owner is None:
            annotation = _entries(annotation)
        else:
            annotation = owner.model_fields[part].annotation if part in owner.model_fields else None
        values = values.get(part) if isinstance(values, Mapping) else None
    return annotation, values


def _entries(annotation: Any) -> Any:
    """Return the type of the values in the annotation of a mapping by name."""
    options = typing.get_args(annotation) if typing.get_origin(annotation) in (Union, UnionType) else (annotation,)
    mappings = [option for option in options if typing.get_origin(option) is dict]
    return typing.get_args(mappings[0])[1] if mappings else None


def _pick(members: list[type[BaseModel]], values: Any) -> type[BaseModel] | None:
    tags = [values.get(key) for key in TAGS] if isinstance(values, Mapping) else []
    named = [member for member in members if any(name in tags for name in _names(member))]
    owners = [
        member for member in members if isinstance(values, Mapping) and values.keys() & member.model_fields.keys()
    ]
    return next(iter(named or owners or members), None)


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    fields = [field for key in TAGS if (field := model.model_fields.get(key)) is not None]
    return next((typing.get_args(f.annotation) for f in fields if typing.get_origin(f.annotation) is Literal), ())


def _tags(model: type[BaseModel], path: Path_) -> list[str]:
    owner = _model_at(model, path[:-1], {})
    assert owner is not None
    return [name for member in members(owner.model_fields[path[-1]].annotation) for name in _names(member)]
