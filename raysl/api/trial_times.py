"""The times of a results folder's finished trials, for plans of trials whose steps cost the same."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median, median_low
from typing import Any

from pydantic import ValidationError

from raysl.errors import UserError
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.storage.store import Store
from raysl.training.spec import TrialSpec, identity_of

ALIKE = "method, model, images, batches, precision, optimizer, probe and number of workers"  # as `_key` compares them
_NO_COST = {"seed", "optimizer", "schedule", "start", "start_epoch", "streams", "fold"}  # no matter to a step
_NO_TIME = ("digest", "source", "decoding", "attack", "draw")  # of the data; no matter to an epoch


@dataclass(frozen=True)
class TrialTimes:
    """The times of finished trials whose steps cost the same.

    epoch_seconds: the median of an epoch after the first.
    other_seconds: the median of what a trial takes apart from such epochs: its set-up, what its first epoch takes
        longer, checkpoints and its probe, without interruptions. Rows of earlier versions have the first epoch's alone.
    device: of the last one that ended; trials on other devices are left out.
    num_trials: those that were counted.  num_epochs: the most epochs of one; with 1 the first epoch is all there is.
    """

    epoch_seconds: float
    other_seconds: float
    device: str
    num_trials: int
    num_epochs: int


class MeasuredTrials:
    """The finished trials of a results folder, by what a step of theirs costs; place: the folder, for messages."""

    def __init__(self, uri: str) -> None:
        """Read the trials of a results folder or URI.

        Raises UserError if it is not there, or has no finished trial that was trained there.
        """
        try:
            store = Store.open(uri, create=False)
        except UserError as error:
            raise UserError(f"--measured: {error}") from None
        self.place = str(store)
        self._rows: dict[str, list[TrialRow]] = {}
        self._times: dict[tuple[str, int], TrialTimes | None] = {}
        rows = read_rows(store)
        for row in rows.values():
            if row.status == "finished" and row.weights_of is None and (key := _row_key(row)) is not None:
                self._rows.setdefault(key, []).append(row)
        if not self._rows:
            raise UserError(
                f"--measured {self.place}: none of its {len(rows)} trials was trained there to its end; train one there"
            )

    def of(self, spec: TrialSpec, workers: int) -> TrialTimes | None:
        """Return the times of trials with a trial's steps and number of workers; None if there are none."""
        known = _key(spec), workers
        if known not in self._times:
            rows = [row for row in self._rows.get(known[0], ()) if row.workers == workers]
            self._times[known] = _times(rows) if rows else None
        return self._times[known]


def step_shape(spec: TrialSpec, apart: Iterable[str] = ("probe",)) -> str:
    """Return what decides the cost of a trial's steps: all but the seed and numbers of the optimizer.

    apart: further parts of the spec that are left out.
    """
    return json.dumps(_facts(spec, apart), sort_keys=True)


def _facts(spec: TrialSpec, apart: Iterable[str]) -> dict[str, Any]:
    facts = spec.model_dump(mode="json", exclude=_NO_COST | {*apart})
    facts["method"] = identity_of(spec.method)
    facts["optimizer"] = spec.optimizer.name if spec.optimizer else None
    facts["folds"] = spec.fold.of if spec.fold else None  # of as many images each, give or take one
    return facts


def _key(spec: TrialSpec) -> str:
    """Return what two trials must have in common for an epoch of one to last as long as that of the other."""
    facts = _facts(spec, ("epochs",))
    del facts["model"]["weights"]  # it starts from them, or from random ones
    for name in _NO_TIME:
        facts["data"].pop(name, None)
    return json.dumps(facts, sort_keys=True)


def _row_key(row: TrialRow) -> str | None:
    """Return a row's key; None if its spec cannot be read, as after a removed method."""
    try:
        return _key(TrialSpec.model_validate_json(row.spec))
    except (ValidationError, UserError, KeyError, TypeError):
        return None


def _times(rows: list[TrialRow]) -> TrialTimes:
    device = max(rows, key=lambda row: row.finished_at).device
    rows = [row for row in rows if row.device == device]
    most = max(len(row.curve) for row in rows)
    epochs, others = [], []
    for row in rows:
        seconds = [epoch.seconds for epoch in row.curve]
        if len(seconds) > 1 or most < 2:
            # The lower of two: an epoch that is slower than usual is more likely than one that is faster.
            typical = median_low(seconds[1:] or seconds or [0.0])
            epochs.append(typical)
            others.append((row.other_seconds or 0.0) + max(sum(seconds[:1]) - typical, 0.0))
    return TrialTimes(median(epochs), median(others), device, len(epochs), most)
