"""The base of every settings model: frozen, strict, and closed to unknown keys."""

import typing
from types import UnionType
from typing import Annotated, Any, TypeVar, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

T = TypeVar("T")


class Settings(BaseModel):
    """Base of the settings that an experiment is made of.

    Strict: `epochs: "30"` is refused rather than converted; an `int` is accepted for a `float`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _each_once(values: list[T]) -> list[T]:
    if len(set(values)) < len(values):
        raise ValueError("names each once")
    return values


# A list that names nothing twice.
EachOnce = Annotated[list[T], AfterValidator(_each_once), Field(json_schema_extra={"uniqueItems": True})]


def members(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings models that an annotation allows."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return members(typing.get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for option in typing.get_args(annotation) for member in members(option)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
