"""The times of a results folder's finished trials, for plans of trials whose steps cost the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median, median_low

from pydantic import ValidationError

from raysl.errors import UserError
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.storage.store import Store
from raysl.training.spec import TrialSpec

_NO_COST = {"seed", "optimizer", "schedule", "start", "start_epoch", "streams", "fold"}  # of a step
_NO_TIME = {"digest", "source", "decoding", "attack"}  # the data's content and place


@dataclass(frozen=True)
class TrialTimes:
    """The times of finished trials whose steps cost the same.

    epoch_seconds: the median of an epoch.  other_seconds: the median of what a trial takes apart from its epochs:
        its set-up, its slower first epoch, checkpoints and its probe.
    device: of the last one that ended; trials on other devices are left out.  num_trials: those that were counted.
    criteria: those that all of them have measured, in their other seconds.
    """

    epoch_seconds: float
    other_seconds: float
    device: str
    num_trials: int
    criteria: tuple[str, ...]


class MeasuredTrials:
    """The finished trials of a results folder, by what a step of theirs costs; place: the folder, for messages."""

    def __init__(self, uri: str) -> None:
        """Read the trials of a results folder or URI.

        Raises UserError if it is not there, or has no finished trial that was trained there.
        """
        self._rows: dict[str, list[TrialRow]] = {}
        try:
            store = Store.open(uri, create=False)
        except UserError as error:
            raise UserError(f"--measured: {error}") from None
        self.place = str(store)
        for row in read_rows(store).values():
            if row.status == "finished" and row.weights_of is None and (key := _row_key(row)) is not None:
                self._rows.setdefault(key, []).append(row)
        if not self._rows:
            raise UserError(
                f"--measured {self.place}: no finished trial is there; raysl tune and raysl train leave some"
            )

    def of(self, spec: TrialSpec, workers: int) -> TrialTimes | None:
        """Return the times of trials with a trial's steps and number of workers; None if there are none."""
        rows = [row for row in self._rows.get(_key(spec), ()) if row.workers == workers]
        return _times(rows) if rows else None


def step_shape(spec: TrialSpec, apart: Iterable[str] = ("probe",)) -> str:
    """Return what decides the cost of a trial's steps: all but the seed and numbers of the optimizer.

    apart: further parts of the spec that are left out.
    """
    folds = f" {spec.fold.of} folds" if spec.fold else ""  # of as many images each, give or take one
    return spec.model_dump_json(exclude=_NO_COST | {*apart}) + (spec.optimizer.name if spec.optimizer else "") + folds


def _key(spec: TrialSpec) -> str:
    """Return what two trials must have in common for one to last as long as the other, for each epoch."""
    bare: Mapping[str, object] = dict.fromkeys(_NO_TIME - {"digest", "source"}) | {"digest": "", "source": ""}
    return step_shape(spec.model_copy(update={"data": spec.data.model_copy(update=bare)}), {"epochs"})


def _row_key(row: TrialRow) -> str | None:
    """Return a row's key; None if its spec cannot be read, as after a removed method."""
    try:
        return _key(TrialSpec.model_validate_json(row.spec))
    except (ValidationError, UserError, KeyError, TypeError):
        return None


def _times(rows: list[TrialRow]) -> TrialTimes:
    device = max(rows, key=lambda row: row.finished_at).device
    rows = [row for row in rows if row.device == device]
    epochs = [epoch.seconds for row in rows for epoch in row.curve]
    # The lower of two: an epoch that is slower than usual is more likely than one that is faster.
    typical = median_low(epochs) if epochs else 0.0
    others = [max(row.finished_at - row.started_at - typical * len(row.curve), 0.0) for row in rows]
    criteria = tuple(name for name in rows[0].criteria if all(name in row.criteria for row in rows))
    return TrialTimes(typical, median(others), device, len(rows), criteria)
