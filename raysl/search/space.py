"""The values of a searched key."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """A list of values, in order: a grid search takes each of them, other searches one for a config."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return self.values

    def __str__(self) -> str:
        return f"one of {list(self.values)}"


@dataclass(frozen=True)
class Choice(Grid):
    """A choice between values that have no order."""


@dataclass(frozen=True)
class Range:
    """A number between two ends, both included.

    log: whether its logarithm is drawn uniformly, instead of the number.
    """

    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """The lowest and the highest value."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{_text(self.low)} to {_text(self.high)}{', in log space' if self.log else ''}"


@dataclass(frozen=True)
class IntRange(Range):
    """A whole number between two ends, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} to {self.high}, whole numbers"


def _text(value: float) -> str:
    """Return the shortest text that identifies a number: it is part of a stage's name."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


Dimension = Grid | Range
Space = Mapping[str, Dimension]  # by dotted key within a stage, in order


def size(space: Space) -> int:
    """Return the number of points of a space; `sys.maxsize` if it has a range of floats."""
    return min(math.prod(_length(dimension) for dimension in space.values()), sys.maxsize)


def _length(dimension: Dimension) -> int:
    if isinstance(dimension, Grid):
        return len(dimension.values)
    return dimension.high - dimension.low + 1 if isinstance(dimension, IntRange) else sys.maxsize
