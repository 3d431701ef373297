"""What one trial came to: a Parquet file of one row, and its test score in another."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from raysl.results.digests import checked_rows, with_digest
from raysl.results.store import Store, warn_damaged

T = TypeVar("T")
Status = Literal["finished", "diverged", "collapsed", "stopped", "failed"]

# Without these nothing can be said of a trial; every version has written them.
_NEEDED = frozenset({"trial_id", "status", "final_loss", "seconds", "started_at", "finished_at", "curve"})
SPREAD = "spread"  # among an epoch's terms
_THREADS = 16  # reading is waiting: for the disk, or for the object store


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    epoch: counted from 0.  lr: at the epoch's first step.  loss, terms: means over the epoch's samples.
    terms: of the loss, by name; and `spread` of a siamese method, how far apart its embeddings lie: 1 where they are
        spread evenly, 0 where they have collapsed to a point.
    """

    epoch: int
    lr: float
    loss: float
    terms: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class TrialRow:
    """One trial that has ended.

    final_loss: mean training loss over the last epoch; None unless finished, and where nothing is trained.
    probe_accuracy: of the trial's probe, on D_l alone; None where it cannot be had.
    epochs: those that were completed.  seconds: spent in training.  started_at, finished_at: unix seconds.
    spec: JSON of everything that decides the trial's numbers.
    """

    trial_id: str
    status: Status
    reason: str
    method: str
    seed: int
    final_loss: float | None
    probe_accuracy: float | None
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
    curve: tuple[Epoch, ...]


@dataclass(frozen=True)
class Score:
    """A trial's score on the sealed test set; kept apart, where no selection rule reads.

    probe: JSON of the probe's settings.
    """

    trial_id: str
    test_accuracy: float
    num_test: int
    probe: str


_EPOCH = pa.struct(
    [
        pa.field("epoch", pa.int32()),
        pa.field("lr", pa.float64()),
        pa.field("loss", pa.float64()),
        pa.field("terms", pa.map_(pa.string(), pa.float64())),
        pa.field("seconds", pa.float64()),
    ]
)
_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    float | None: pa.float64(),
    Status: pa.string(),
    tuple[Epoch, ...]: pa.list_(_EPOCH),
}
_ROW = pa.schema([pa.field(field.name, _TYPES[field.type]) for field in fields(TrialRow)])
_SCORE = pa.schema([pa.field(field.name, _TYPES[field.type]) for field in fields(Score)])


def write_row(store: Store, row: TrialRow) -> None:
    """Write `rows/<trial_id>.parquet`."""
    curve = [asdict(epoch) | {"terms": list(epoch.terms.items())} for epoch in row.curve]
    store.write(f"rows/{row.trial_id}.parquet", _parquet(vars(row) | {"curve": curve}, _ROW))


def read_row(store: Store, trial_id: str) -> TrialRow | None:
    """Return a trial's row; None where there is none, or a damaged one (logged, with its path)."""
    return _read(store, "rows", _parse_row, trial_id)


def read_rows(store: Store, ids: Iterable[str] | None = None) -> dict[str, TrialRow]:
    """Return the rows that there are, by trial id: of all trials, or of those given, in their order."""
    return _read_all(store, "rows", _parse_row, ids)


def write_score(store: Store, score: Score) -> None:
    """Write `scores/<trial_id>.parquet`."""
    store.write(f"scores/{score.trial_id}.parquet", _parquet(vars(score), _SCORE))


def read_score(store: Store, trial_id: str) -> Score | None:
    """Return a trial's test score; None where there is none, or a damaged one (logged, with its path)."""
    return _read(store, "scores", partial(_known, Score), trial_id)


def read_scores(store: Store, ids: Iterable[str] | None = None) -> dict[str, Score]:
    """Return the test scores that there are, by trial id: of all trials, or of those given, in their order."""
    return _read_all(store, "scores", partial(_known, Score), ids)


def _parse_row(values: dict[str, Any]) -> TrialRow:
    if missing := _NEEDED - values.keys():
        raise ValueError(f"lacks {', '.join(sorted(missing))}")
    if values["status"] not in get_args(Status):
        raise ValueError(f"status {values['status']!r}")
    curve = tuple(_known(Epoch, epoch | {"terms": dict(epoch["terms"])}) for epoch in values["curve"])
    return _known(TrialRow, values | {"curve": curve})


def _known(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a record of the columns that it knows: another version of raysl may have written more, or fewer.

    What an earlier one did not write is the field's default, or None.
    """
    return kind(**{name: values.get(name, getattr(kind, name, None)) for name in kind.__annotations__})


def _parquet(values: Mapping[str, Any], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([dict(values)], schema=schema)
    pq.write_table(with_digest(table), sink, use_dictionary=False, write_statistics=False, write_page_checksum=True)
    return bytes(sink.getvalue())


def _read_all(
    store: Store, folder: str, parse: Callable[[dict[str, Any]], T], ids: Iterable[str] | None
) -> dict[str, T]:
    present = [name.removesuffix(".parquet") for name in store.list(folder, ".parquet")]
    if ids is not None:
        there = set(present)
        present = [trial_id for trial_id in dict.fromkeys(ids) if trial_id in there]
    with ThreadPoolExecutor(_THREADS) as pool:
        records = pool.map(partial(_read, store, folder, parse), present)
        return {trial_id: record for trial_id, record in zip(present, records, strict=True) if record is not None}


def _read(store: Store, folder: str, parse: Callable[[dict[str, Any]], T], trial_id: str) -> T | None:
    path = f"{folder}/{trial_id}.parquet"
    try:
        content = store.read(path)
    except FileNotFoundError:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        (values,) = checked_rows(file.read(use_threads=False))
        if values["trial_id"] != trial_id:
            raise ValueError(f"holds trial {values['trial_id']}")
        return parse(values)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        warn_damaged(store.address(path), str(error).partition("\n")[0])
        return None
