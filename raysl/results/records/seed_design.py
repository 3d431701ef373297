"""Typed seeds: the cells of a design whose factors are random streams, and the number of each cell."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

RandomStream = Literal["split", "init", "order", "augmentation", "labels"]
STREAMS: tuple[RandomStream, ...] = get_args(RandomStream)  # their places are part of the seeds derived from them
Kind = Literal["crossed", "nested"]
Cell = tuple[int, ...]  # the level of each factor, from 0

SEPARATORS: Mapping[Kind, str] = {"crossed": " x ", "nested": " > "}
LARGEST_SEED = 2**32 - 1  # that scikit-learn accepts


@dataclass(frozen=True)
class SeedDesign:
    """Which random streams vary over a stage's trials.

    factors: names of streams.  kind: `crossed`, or `nested`: each factor's levels differ within each level of those
        before it.

    A trial's seed is the number of its cell.  More levels of a factor leave the numbers and the streams of other cells
    as they are.
    """

    factors: tuple[RandomStream, ...]
    kind: Kind

    def __str__(self) -> str:
        return SEPARATORS[self.kind].join(self.factors)

    @classmethod
    def parse(cls, text: str) -> "SeedDesign":
        """Return the design of its text, such as `labels x init` or `labels > init`."""
        kind: Kind = "nested" if SEPARATORS["nested"] in text else "crossed"
        return cls(cast(tuple[RandomStream, ...], tuple(text.split(SEPARATORS[kind]))), kind)

    def cell(self, seed: int) -> Cell:
        """Return the levels of a trial's seed."""
        return unpaired(seed, len(self.factors))

    def streams(self, seed: int) -> dict[RandomStream, int]:
        """Return the seeds of the factors in the trial of a seed."""
        cell = self.cell(seed)
        if self.kind == "crossed":
            return dict(zip(self.factors, cell, strict=True))
        return {name: paired(cell[: place + 1]) for place, name in enumerate(self.factors)}


def dependence_text(design: str) -> str:
    """Return why no interval or test that takes seeds for independent holds."""
    return f"its seeds are cells of {design}, which share levels and are not independent; see `raysl variance`"


def cells(levels: tuple[int, ...]) -> Iterator[Cell]:
    """Yield the cells of a balanced design, the last factor fastest; levels: their number for each factor."""
    return itertools.product(*map(range, levels))


def paired(cell: Cell) -> int:
    """Return the number of a cell (Rosenberg & Strong 1972; Szudzik 2019, arXiv:1706.04129).

    Each tuple of whole numbers from 0 on has one number, and those below `n` have the numbers below n ** len(cell).
    """
    number = cell[0]
    for place in range(1, len(cell)):
        most = max(cell[: place + 1])
        number += most ** (place + 1) + (most - cell[place]) * ((most + 1) ** place - most**place)
    return number


def unpaired(number: int, length: int) -> Cell:
    """Return the cell of a number; the inverse of `paired`."""
    last: list[int] = []
    for place in range(length - 1, 0, -1):
        most = _root(number, place + 1)
        beyond, step = number - most ** (place + 1), (most + 1) ** place - most**place
        last.append(most - max(0, beyond - most**place) // step)
        number = beyond - (most - last[-1]) * step
    return number, *reversed(last)


def _root(number: int, degree: int) -> int:
    """Return the greatest whole number whose power is no greater than `number`."""
    root: int = math.floor(number ** (1 / degree))
    while (root + 1) ** degree <= number:
        root += 1
    while root**degree > number:
        root -= 1
    return root
