"""Finds trials with the same weights: one of them is trained, and the others are only measured."""

import math
from collections.abc import Iterable

from pydantic import ValidationError

from raysl.errors import UserError
from raysl.results.records.rows import TrialRow, read_row, read_rows
from raysl.results.storage.store import Store
from raysl.search.trials import Trial
from raysl.training.code import code_of
from raysl.training.kept_models import model_exists
from raysl.training.spec import TrialSpec


class SharedWeights:
    """The trained trials of a results folder, by their weights id (`TrialSpec.weights_id`).

    Trials that differ only in the probe or its settings have the same weights, and so have trials that differ only in
    D_l if their method sees no labels.
    """

    def __init__(self, store: Store | None, *, own_code: bool = False) -> None:
        """Read the trials of a results folder; None if there is none yet.

        own_code: whether to take only weights that were trained with the code that runs.
        """
        self._store, self._own_code = store, own_code
        self._ids: dict[str, str | None] = {}  # weights id by trial id
        self._unsorted: dict[tuple[str, int], list[TrialRow]] = {}  # without a weights id yet, by method and seed
        self._rows: dict[str, dict[str, TrialRow]] = {}  # by weights id, then by trial id
        self.refresh()

    def refresh(self) -> None:
        """Read the rows again, for trials that other searches have trained meanwhile."""
        self._unsorted, self._rows = {}, {}
        if self._store is not None:
            self.add(read_rows(self._store).values())

    def add(self, rows: Iterable[TrialRow]) -> None:
        """Add the rows of trials that have ended."""
        for row in filter(_lasts, rows):
            self._unsorted.setdefault((row.method, row.seed), []).append(row)

    def id_of(self, spec: TrialSpec) -> str:
        """Return a trial's weights id; its own id if it trains nothing, because no other trial can take its weights."""
        name = self._ids.get(spec.id) or (spec.weights_id(self._start_id(spec)) if spec.trains else spec.id)
        self._ids[spec.id] = name
        return name

    def donors(self, spec: TrialSpec) -> list[TrialRow]:
        """Return the rows of other trained trials with the same weights, with or without a model file."""
        if not spec.trains:
            return []
        for row in self._unsorted.pop((spec.method["name"], spec.seed), ()):
            if (name := self._row_id(row)) is not None:
                self._rows.setdefault(name, {})[row.trial_id] = row
        alike = self._rows.get(self.id_of(spec), {}).values()
        found = [row for row in alike if row.trial_id != spec.id]
        return [row for row in found if self._is_of_own_code(row, spec)] if self._own_code else found

    def donor(self, trial: Trial) -> TrialRow | None:
        """Return the row of the trained trial whose weights a trial can take; None if the trial must be trained.

        A donor without a model cannot be probed.  A donor of other code must have all wanted models, because this code
        would make different ones.  A trial with early stopping has no donor, because its losses are compared epoch by
        epoch.
        """
        if trial.stop is not None:
            return None
        donors = self.donors(trial.spec)
        for row in filter(self.has_model, donors):
            wanted = (epoch for epoch in trial.milestones if epoch < trial.spec.epochs)
            if all(self.has_model(row, epoch) for epoch in wanted) or self._is_of_own_code(row, trial.spec):
                return row
        own = [row for row in donors if self._is_of_own_code(row, trial.spec)]
        return next((row for row in own if row.status != "finished" or not _needs_model(trial, row)), None)

    def has_model(self, row: TrialRow, epoch: int | None = None) -> bool:
        """Return whether a trial's model file exists, of its end or of a milestone; it may be damaged."""
        return self._store is not None and row.status == "finished" and model_exists(self._store, row.trial_id, epoch)

    def _is_of_own_code(self, row: TrialRow, spec: TrialSpec) -> bool:
        """Return whether a row was made by the code that would train a trial here."""
        return self._store is not None and row.code == code_of(spec, self._store).digest

    def _start_id(self, spec: TrialSpec) -> str | None:
        if spec.start is None or self._store is None:
            return spec.start
        if spec.start not in self._ids and (row := read_row(self._store, spec.start)) is not None:
            self._row_id(row)
        return self._ids.get(spec.start) or spec.start

    def _row_id(self, row: TrialRow) -> str | None:
        """Return the weights id of a row; None if its spec cannot be read or does not have the row's id."""
        if row.trial_id not in self._ids:
            try:
                spec = TrialSpec.model_validate_json(row.spec)
                self._ids[row.trial_id] = self.id_of(spec) if spec.id == row.trial_id else None
            except (ValidationError, UserError, KeyError, TypeError, OSError):  # for example a removed method
                self._ids[row.trial_id] = None
        return self._ids[row.trial_id]


def _needs_model(trial: Trial, donor: TrialRow) -> bool:
    """Return whether something is to be measured of a trial that the row of its donor does not have."""
    return trial.needs_probe or bool(donor.lacks(trial.criteria))


def _lasts(row: TrialRow) -> bool:
    """Return whether training with the same weights id always ends as this trial has, with any probe."""
    if row.status == "diverged":
        return bool(row.curve) and not math.isfinite(row.curve[-1].loss)
    return row.status in ("finished", "collapsed")
