"""The values that a searched key may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """Each of some values, in order; to a search that draws, one of them."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return self.values

    def __str__(self) -> str:
        return f"one of {list(self.values)}"


@dataclass(frozen=True)
class Choice(Grid):
    """One of some values, which have no order."""


@dataclass(frozen=True)
class Range:
    """A number between two ends, both of them included.

    log: whether it is drawn evenly over the logarithm.
    """

    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """Its lowest and highest value."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{_text(self.low)} to {_text(self.high)}{', in log space' if self.log else ''}"


@dataclass(frozen=True)
class IntRange(Range):
    """A whole number between two ends."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} to {self.high}, whole numbers"


def _text(value: float) -> str:
    """Return a number as short as it can be without standing for another: a stage is named by it."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


Dimension = Grid | Range
Space = Mapping[str, Dimension]  # by dotted key within a stage, in order
