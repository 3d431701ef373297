"""The points of trials' curves as the published table; built column by column, because there may be millions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysl.results import schema
from raysl.results.records.curve import Curve, Epoch, joined
from raysl.results.records.stages import Member

TOTAL = "total"
AT_ONCE = 500  # trials in a part
Indices = NDArray[np.int64]


def points(place: Mapping[str, Any], curves: Sequence[tuple[Member, Sequence[Epoch]]]) -> Iterator[pa.Table]:
    """Yield the points of a stage's trials, part by part: for each epoch the total loss, then its terms.

    place: the values of the columns that describe the stage.
    """
    for start in range(0, len(curves), AT_ONCE):
        yield _points(place, curves[start : start + AT_ONCE])


def _points(place: Mapping[str, Any], curves: Sequence[tuple[Member, Sequence[Epoch]]]) -> pa.Table:
    lists = joined([Curve.of(epochs) for _, epochs in curves])
    number, lr, loss, terms, seconds = lists.values.flatten()
    first_terms = terms.offsets.to_numpy().astype(np.int64)
    epoch, is_total, term = _layout(first_terms)
    trial = np.repeat(np.arange(len(curves)), np.diff(lists.offsets.to_numpy()))[epoch]
    columns = {name: pa.repeat(pa.scalar(value), len(epoch)) for name, value in place.items()}
    for name in ("config_id", "trial_id", "seed"):
        columns[name] = pa.array([getattr(member, name) for member, _ in curves]).take(pa.array(trial))
    columns["epoch"] = number.cast(pa.int64()).take(pa.array(epoch))
    columns["lr"], columns["seconds"] = lr.take(pa.array(epoch)), seconds.take(pa.array(epoch))
    names, values = pa.concat_arrays([pa.array([TOTAL]), terms.keys]), pa.concat_arrays([loss, terms.items])
    columns["term"] = names.take(pa.array(np.where(is_total, 0, 1 + term)))
    columns["value"] = values.take(pa.array(np.where(is_total, epoch, len(loss) + term)))
    return pa.table([columns[name] for name in schema.CURVES.names], schema=schema.CURVES)


def _layout(first_terms: Indices) -> tuple[Indices, NDArray[np.bool_], Indices]:
    """Return, for each point, the index of its epoch, whether it is the total, and otherwise the index of its term.

    first_terms: index of the first term of each epoch, and the end of the last epoch's.
    """
    counts = np.diff(first_terms) + 1
    starts = np.cumsum(counts) - counts
    epoch = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(epoch)) - starts[epoch]
    return epoch, within == 0, first_terms[epoch] + within - 1
