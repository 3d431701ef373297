"""Types of settings as text for a reader."""

import types
import typing
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf

_PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null", Any: "a method"}


def type_text(kind: Any) -> str:
    """Return a type with its bounds, such as `number > 0, <= 1`, `'sgd' or 'adam'`, `list of integers`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        bounds = ", ".join(text for one in arguments[1:] if (text := _bound(one)))
        base = type_text(arguments[0])
        return f"{base} {bounds}" if bounds else base
    if origin is typing.Literal:
        return " or ".join(repr(one) for one in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(type_text, arguments)))
    if origin in (list, tuple):
        return f"list of ({type_text(arguments[0])})" if arguments else "list"
    if origin is dict:
        return f"mapping of {type_text(arguments[0])} to ({type_text(arguments[1])})"
    return _PLAIN.get(kind, getattr(kind, "__name__", str(kind)))


def _bound(one: Any) -> str:
    match one:
        case Ge():
            return f">= {one.ge}"
        case Gt():
            return f"> {one.gt}"
        case Le():
            return f"<= {one.le}"
        case Lt():
            return f"< {one.lt}"
        case MinLen():
            return f"of {one.min_length} or more"
        case MaxLen():
            return f"of at most {one.max_length}"
        case MultipleOf():
            return f"a multiple of {one.multiple_of}"
    return ""
