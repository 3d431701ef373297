"""How grids of numbers go on."""

from typing import Any

import pytest

from raysl.search.space import Choice, Dimension, Grid, Range
from raysl.search.spacing import may_grow, next_value


@pytest.mark.parametrize(
    ("values", "smaller", "larger"),
    [
        ((1e-2, 1e-3, 1e-4), 1e-5, 1e-1),
        ((0.1, 0.01), 0.001, 1.0),
        ((2, 4, 8), 1, 16),
        ((2, 4, 6), 0, 8),
        ((0.0, 0.125, 0.25), -0.125, 0.375),
        ((0.1, 0.2, 0.3), 0.0, 0.4),
        ((1, 3, 9), None, 27),  # a third is no whole number
        ((1, 2.5, 6.25), 0.4, 15.625),
        ((-2, -1), -3, 0),
        ((1e-3, 3e-3, 1e-2), None, None),
        ((0.1, 0.2, 0.401), None, None),
        ((5,), None, None),
        ((True, False), None, None),
        (("adam", "sgd"), None, None),
    ],
)
def test_even_spacing_goes_on(values: tuple[Any, ...], smaller: float | None, larger: float | None) -> None:
    for order in (values, values[::-1]):
        assert next_value(order, "smallest") == smaller
        assert next_value(order, "largest") == larger
    whole = all(isinstance(value, int) for value in values)
    assert not whole or isinstance(next_value(values, "largest"), int | None)


@pytest.mark.parametrize(
    ("key", "dimension", "grows"),
    [
        ("optimizer.lr", Grid((0.1, 0.01)), True),
        ("method.w", Grid((0.25, 0.5, 0.75)), True),
        ("batch_size", Grid((16, 32)), False),
        ("epochs", Grid((10, 20)), False),
        ("schedule.rate", Grid((0.9, 0.95)), False),
        ("method.w", Choice((0.25, 0.5)), False),
        ("method.w", Range(0.0, 1.0), False),
        ("method.views", Grid(("none", "crop_flip")), False),
    ],
)
def test_numbers_of_the_method_and_the_optimizer_may_grow(key: str, dimension: Dimension, grows: bool) -> None:
    assert may_grow(key, dimension) == grows
