"""Types as a reader sees them."""

from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, MinLen

from raysl.config.type_text import type_text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (float, "number"),
        (Annotated[float, Gt(0.0), Le(1.0)], "number > 0.0, <= 1.0"),
        (Annotated[int, Ge(1)] | None, "integer >= 1 or null"),
        (Literal["z", "y"], "'z' or 'y'"),
        (list[Annotated[int, Ge(2)]], "list of (integer >= 2)"),
        (Annotated[list[str], MinLen(1)], "list of (text) of 1 or more"),
        (dict[str, float], "mapping of text to (number)"),
        (bool, "true or false"),
        (Any, "a method"),
    ],
)
def test_types_and_their_bounds_are_words(kind: Any, text: str) -> None:
    assert type_text(kind) == text
