"""Grids of evenly spaced numbers, and how they go on."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

from raysl.search.space import Choice, Dimension, Grid

End = Literal["smallest", "largest"]
ENDS: Sequence[End] = ("smallest", "largest")


def may_grow(key: str, dimension: Dimension) -> bool:
    """Return whether a key's grid may grow: it has evenly spaced numbers, of the method or the optimizer.

    Other numbers, such as the batch size, have limits that depend on the images.
    """
    if not key.startswith(("method.", "optimizer.")):
        return False
    if isinstance(dimension, Choice) or not isinstance(dimension, Grid):
        return False
    return any(next_value(dimension.values, end) is not None for end in ENDS)


def next_value(values: Sequence[Any], end: End) -> float | None:
    """Return the number that continues evenly spaced ones beyond an end; None if they are not evenly spaced.

    Positive numbers of one ratio go on by it, as do two positive numbers; others of one difference by that.  Whole
    numbers go on by whole ones.
    """
    if len(values) < 2 or any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    ordered = sorted(values)
    first, last = ordered[0], ordered[-1]
    ratios = [high / low for low, high in itertools.pairwise(ordered)] if first > 0 else []
    gaps = [high - low for low, high in itertools.pairwise(ordered)]
    if ratios and _equal(ratios):
        value = last * ratios[0] if end == "largest" else first / ratios[0]
    elif _equal(gaps):
        value = last + gaps[0] if end == "largest" else first - gaps[0]
    else:
        return None
    rounded = float(f"{value:.12g}")
    if not all(isinstance(one, int) for one in ordered):
        return rounded
    return int(rounded) if rounded.is_integer() else None


def _equal(numbers: Sequence[float]) -> bool:
    return all(math.isclose(number, numbers[0], rel_tol=1e-6) for number in numbers)
