"""The epochs of a trial, stored as Arrow arrays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, overload

import pyarrow as pa


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    epoch: counted from 0.  lr: at the epoch's first step.  loss, terms: means over the epoch's samples.
    terms: of the loss, by name; and `spread` of a siamese method, how far apart its embeddings lie: 1 if they are
        spread evenly, 0 if they have collapsed to a point.
    """

    epoch: int
    lr: float
    loss: float
    terms: dict[str, float]
    seconds: float


EPOCH = pa.struct(
    [
        pa.field("epoch", pa.int32()),
        pa.field("lr", pa.float64()),
        pa.field("loss", pa.float64()),
        pa.field("terms", pa.map_(pa.string(), pa.float64())),
        pa.field("seconds", pa.float64()),
    ]
)
CURVE = pa.list_(EPOCH)


class Curve(Sequence[Epoch]):
    """A sequence of epochs that are created on access; those of thousands of trials would fill the memory."""

    __slots__ = ("values",)

    def __init__(self, values: pa.StructArray) -> None:
        """values: the epochs, an array of `EPOCH`."""
        self.values = values

    @classmethod
    def of(cls, epochs: Iterable[Epoch]) -> "Curve":
        """Return epochs as a curve."""
        if isinstance(epochs, cls):
            return epochs
        return cls(pa.array([plain(epoch) for epoch in epochs], EPOCH))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Epoch]:
        return iter([_epoch(values) for values in self.values.to_pylist()])

    @overload
    def __getitem__(self, place: int) -> Epoch: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Epoch, ...]: ...
    def __getitem__(self, place: int | slice) -> Epoch | tuple[Epoch, ...]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(len(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def plain(epoch: Epoch) -> dict[str, Any]:
    """Return an epoch as a dict of the form that Arrow converts."""
    return vars(epoch) | {"terms": list(epoch.terms.items())}


def joined(curves: Sequence[Curve]) -> pa.ListArray:
    """Return curves as one array of `CURVE`."""
    offsets = [0]
    for curve in curves:
        offsets.append(offsets[-1] + len(curve))
    values = pa.concat_arrays([curve.values for curve in curves]) if curves else pa.array([], EPOCH)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def parted(column: pa.ChunkedArray) -> list[Curve]:
    """Return the curves of a column of `CURVE`."""
    found: list[Curve] = []
    for chunk in column.chunks:
        ends = chunk.offsets.to_pylist()
        found += [Curve(chunk.values[start:end]) for start, end in pairwise(ends)]
    return found


def is_curves(column: pa.ChunkedArray) -> bool:
    """Return whether a column holds curves of this version's type, without nulls."""
    if column.type != CURVE or column.null_count:
        return False
    return not any(chunk.values.null_count or chunk.values.field("terms").null_count for chunk in column.chunks)


def _epoch(values: Mapping[str, Any]) -> Epoch:
    return Epoch(**{**values, "terms": dict(values["terms"])})
