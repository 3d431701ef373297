"""The result of a trial: a Parquet file of one row, and its test score in another."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from raysl.results.metrics import as_columns, of_columns
from raysl.results.records.curve import CURVE, Curve, is_curves, joined, parted, plain
from raysl.results.records.curve import Epoch as Epoch
from raysl.results.records.record_cache import RecordType, read_all, write_copies
from raysl.results.records.stages import LATEST
from raysl.results.storage.checksums import DAMAGE, checked_rows, with_digest
from raysl.results.storage.store import Store, warn_damaged

T = TypeVar("T")
Status = Literal["finished", "diverged", "collapsed", "stopped", "failed"]

# The columns that a row must have; every version has written them.
_NEEDED = frozenset({"trial_id", "status", "final_loss", "seconds", "started_at", "finished_at", "curve"})
_MAY_BE_NULL = frozenset({"final_loss", "curve"})
SPREAD, CONFIDENT = "spread", "confident"  # among an epoch's terms
NO_LOSSES = (SPREAD, CONFIDENT)
UNMEASURED = "{}"  # probe of a score without metrics: of a method that learns no masks, on images that have them
UNPROBED = "not probed: the model of these weights was dropped"  # reason of a finished trial


@dataclass(frozen=True)
class TrialRow:
    """One trial that has ended.

    reason: why it did not finish, or UNPROBED; else empty.

        final_loss: mean training loss over the last epoch; None if the trial did not finish, or trains nothing.
        probe: metrics of the trial's probe by name, on D_l alone; empty if they cannot be computed.
        epochs: those that were completed.  seconds: spent in training.  started_at, finished_at: unix seconds.
        spec: JSON of everything that decides the trial's numbers.
    code: digest of the code that trained it (`results.records.code`); None if an earlier version did, or it failed.
        weights_of: id of the trial whose training gave these weights; None if the trial was trained itself.
    criteria: label-free criteria by name, as far as they were measured; None if the features have no such value.
    other_seconds: of set-up, checkpoints and the probe, in the process that ended the trial; None if it is not known.
    """

    trial_id: str
    status: Status
    reason: str
    method: str
    seed: int
    final_loss: float | None
    probe: Mapping[str, float]
    epochs: int
    num_parameters: int
    seconds: float
    started_at: float
    finished_at: float
    workers: int
    device: str
    raysl_version: str
    torch_version: str
    spec: str
    curve: Sequence[Epoch]
    code: str | None = None
    weights_of: str | None = None
    criteria: Mapping[str, float | None] = field(default_factory=dict)
    other_seconds: float | None = None

    @property
    def is_unprobed(self) -> bool:
        """Whether the model was gone already when this row was made of another trial's."""
        return self.reason == UNPROBED

    def lacks(self, criteria: Iterable[str]) -> list[str]:
        """Return those of some criteria that could be measured of this trial, and are not."""
        return [name for name in criteria if name not in self.criteria] if self.status == "finished" else []

    def for_another(self, trial_id: str, spec: str) -> "TrialRow":
        """Return the row, without a probe's metrics, of another trial with the same weights, which is not trained."""
        now = time.time()
        return replace(
            self,
            trial_id=trial_id,
            spec=spec,
            reason=UNPROBED if self.status == "finished" else self.reason,
            probe={},
            started_at=now,
            finished_at=now,
            weights_of=self.weights_of or self.trial_id,
        )


@dataclass(frozen=True)
class Score:
    """A trial's score on the sealed test set; kept apart, where no selection rule reads.

    metrics: by name; none where the probe is UNMEASURED.  num_test: number of test images.
    probe: JSON of the probe's settings.  code: digest of the code that scored it; None if an earlier version did.
    """

    trial_id: str
    metrics: Mapping[str, float]
    num_test: int
    probe: str
    code: str | None = None


_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    float | None: pa.float64(),
    str | None: pa.string(),
    Status: pa.string(),
    Mapping[str, float | None]: pa.map_(pa.string(), pa.float64()),
    Sequence[Epoch]: CURVE,
}


def _schema(kind: type[TrialRow] | type[Score], metrics: str, columns: Iterable[str]) -> pa.Schema:
    """Return the schema of a record's file; the metrics have a column each, where the record has its field."""
    found: list[pa.Field] = []
    for one in fields(kind):
        names = columns if one.name == metrics else [one.name]
        found += [pa.field(name, pa.float64() if one.name == metrics else _TYPES[one.type]) for name in names]
    return pa.schema(found)


_ROW = _schema(TrialRow, "probe", as_columns({}, "probe"))
_SCORE = _schema(Score, "metrics", as_columns({}, "test"))


def write_row(store: Store, row: TrialRow) -> None:
    """Write `rows/<trial_id>.parquet`."""
    store.write(f"rows/{row.trial_id}.parquet", _parquet(_plain(row) | {"curve": list(map(plain, row.curve))}, _ROW))


def read_row(store: Store, trial_id: str) -> TrialRow | None:
    """Return a trial's row; None if it is missing, or damaged (logged, with its path)."""
    return _read("rows", _parse_row, _ROW, store, trial_id)


def read_rows(store: Store, ids: Iterable[str] | None = None) -> dict[str, TrialRow]:
    """Return the existing rows by trial id: of all trials, or of the given ones, in their order."""
    return read_all(store, _ROWS, ids)


def write_score(store: Store, score: Score) -> None:
    """Write `scores/<trial_id>.parquet`."""
    store.write(f"scores/{score.trial_id}.parquet", _parquet(_plain(score), _SCORE))


def read_score(store: Store, trial_id: str) -> Score | None:
    """Return a trial's test score; None if it is missing, or damaged (logged, with its path)."""
    return _read("scores", _parse_score, _SCORE, store, trial_id)


def read_scores(store: Store, ids: Iterable[str] | None = None) -> dict[str, Score]:
    """Return the existing test scores by trial id: of all trials, or of the given ones, in their order."""
    return read_all(store, _SCORES, ids)


def write_row_copies(store: Store) -> None:
    """Write copies of the rows and scores that this process has read, for later processes, if they are many."""
    for kind in (_ROWS, _SCORES):
        write_copies(store, kind)


def _plain(record: TrialRow | Score) -> dict[str, Any]:
    if isinstance(record, Score):
        return vars(record) | as_columns(record.metrics, "test")
    return vars(record) | as_columns(record.probe, "probe") | {"criteria": [*record.criteria.items()]}


def _parse_row(table: pa.Table, values: dict[str, Any]) -> TrialRow:
    if missing := _NEEDED - values.keys():
        raise ValueError(f"lacks {', '.join(sorted(missing))}")
    if values["status"] not in get_args(Status):
        raise ValueError(f"status {values['status']!r}")
    if empty := [name for name in sorted(_NEEDED - _MAY_BE_NULL) if values[name] is None]:
        raise ValueError(f"holds no {', '.join(empty)}")
    for name in ("started_at", "finished_at"):
        if not 0 <= values[name] < LATEST:
            raise ValueError(f"{name} {values[name]!r}")
    probe = of_columns(values, "probe")
    criteria = dict(values.get("criteria") or ())
    _check_finite(values | probe | criteria, "final_loss", "seconds", *probe, *criteria)
    column = table["curve"]
    if is_curves(column):
        [curve] = parted(column)
    else:
        curve = Curve.of([_known(Epoch, epoch | {"terms": dict(epoch["terms"])}) for epoch in values["curve"]])
    return _known(TrialRow, values | {"curve": curve, "probe": probe, "criteria": criteria})


def _check_finite(values: Mapping[str, Any], *names: str) -> None:
    """Raise ValueError for a number that is not finite; a trial with such a loss has another status."""
    for name in names:
        if (value := values.get(name)) is not None and not math.isfinite(value):
            raise ValueError(f"{name} {value!r}")


def _parse_score(table: pa.Table, values: dict[str, Any]) -> Score:
    metrics = of_columns(values, "test")
    if not metrics and values.get("probe") != UNMEASURED:
        raise ValueError(f"holds no {' or '.join(as_columns({}, 'test'))}")
    _check_finite(metrics, *metrics)
    return _known(Score, values | {"metrics": metrics})


def _known(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a record of the columns that it knows; another version of raysl may have written more, or fewer.

    A column that an earlier version did not write gets the field's default, or None.
    """
    return kind(**{name: values.get(name, getattr(kind, name, None)) for name in kind.__annotations__})


def _rows_table(rows: Sequence[TrialRow]) -> pa.Table:
    scalars = pa.Table.from_pylist([_plain(row) | {"curve": None} for row in rows], schema=_ROW)
    place = _ROW.get_field_index("curve")
    return scalars.set_column(place, _ROW.field(place), joined([Curve.of(row.curve) for row in rows]))


def _rows_of(table: pa.Table) -> Iterator[TrialRow]:
    scalars = table.drop_columns(["curve"]).to_pylist()
    for values, curve in zip(scalars, parted(table["curve"]), strict=True):
        measured = {"probe": of_columns(values, "probe"), "criteria": dict(values["criteria"])}
        yield _known(TrialRow, values | {"curve": curve} | measured)


def _scores_table(scores: Sequence[Score]) -> pa.Table:
    return pa.Table.from_pylist([_plain(score) for score in scores], schema=_SCORE)


def _scores_of(table: pa.Table) -> Iterator[Score]:
    return (_known(Score, values | {"metrics": of_columns(values, "test")}) for values in table.to_pylist())


def _parquet(values: Mapping[str, Any], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([dict(values)], schema=schema)
    pq.write_table(with_digest(table), sink, use_dictionary=False, write_statistics=False, write_page_checksum=True)
    return bytes(sink.getvalue())


def spec_of(text: str | None) -> dict[str, Any]:
    """Return the spec in a row's JSON; empty if the JSON is no spec."""
    try:
        spec = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return spec if isinstance(spec, dict) else {}


def _check_types(found: pa.Schema, known: pa.Schema) -> None:
    """Raise ValueError for a column of another type; earlier versions wrote curves in other types."""
    for column in known:
        place = found.get_field_index(column.name)
        if column.name != "curve" and place >= 0 and found.field(place).type != column.type:
            raise ValueError(f"column {column.name} is of {found.field(place).type}, not {column.type}")


def _read(
    folder: str,
    parse: Callable[[pa.Table, dict[str, Any]], T],
    schema: pa.Schema,
    store: Store,
    trial_id: str,
) -> T | None:
    path = f"{folder}/{trial_id}.parquet"
    try:
        content = store.read(path)
    except FileNotFoundError:
        return None
    try:
        table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
        (values,) = checked_rows(table)
        _check_types(table.schema, schema)
        if values["trial_id"] != trial_id:
            raise ValueError(f"holds trial {values['trial_id']}")
        return parse(table, values)
    except DAMAGE as error:
        warn_damaged(store.address(path), str(error).partition("\n")[0])
        return None


_ROWS = RecordType("rows", ".parquet", partial(_read, "rows", _parse_row, _ROW), _ROW, _rows_table, _rows_of)
_SCORES = RecordType(
    "scores", ".parquet", partial(_read, "scores", _parse_score, _SCORE), _SCORE, _scores_table, _scores_of
)
