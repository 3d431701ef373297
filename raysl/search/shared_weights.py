"""Which trials have the same weights, so that one of them is trained and the others are only measured."""

import math
from collections.abc import Iterable

from pydantic import ValidationError

from raysl.errors import UserError
from raysl.results.records.rows import TrialRow, read_row, read_rows
from raysl.results.storage.store import Store
from raysl.search.trials import Trial
from raysl.training.code import code_of
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec


class SharedWeights:
    """The trained trials of a results folder, by what decides their weights.

    Another probe or another of its settings, and another D_l for a method that sees no labels, give other trials with
    the same weights (`TrialSpec.weights_id`).
    """

    def __init__(self, store: Store | None, *, own_code: bool = False) -> None:
        """Take a results folder, or None where there is none yet.

        own_code: whether only weights are taken that this very code has trained.
        """
        self._store, self._own_code = store, own_code
        self._ids: dict[str, str | None] = {}  # weights id by trial id
        self._unsorted: dict[tuple[str, int], list[TrialRow]] = {}  # by method and seed
        self._rows: dict[str, dict[str, TrialRow]] = {}  # by weights id, then by trial id
        self.refresh()

    def refresh(self) -> None:
        """Take note of what other searches have trained meanwhile."""
        self._unsorted, self._rows = {}, {}
        if self._store is not None:
            self.add(read_rows(self._store).values())

    def add(self, rows: Iterable[TrialRow]) -> None:
        """Take note of trials that have ended."""
        for row in filter(_lasts, rows):
            self._unsorted.setdefault((row.method, row.seed), []).append(row)

    def id_of(self, spec: TrialSpec) -> str:
        """Return what names a trial's weights; a trial that trains nothing has none that others could take."""
        name = self._ids.get(spec.id) or (spec.weights_id(self._start_id(spec)) if spec.trains else spec.id)
        self._ids[spec.id] = name
        return name

    def donors(self, spec: TrialSpec) -> list[TrialRow]:
        """Return the trained trials with the weights of another, whether their models are there or not."""
        if not spec.trains:
            return []
        for row in self._unsorted.pop((spec.method["name"], spec.seed), ()):
            if (name := self._row_id(row)) is not None:
                self._rows.setdefault(name, {})[row.trial_id] = row
        alike = self._rows.get(self.id_of(spec), {}).values()
        found = [row for row in alike if row.trial_id != spec.id]
        return [row for row in found if self._is_of_own_code(row, spec)] if self._own_code else found

    def donor(self, trial: Trial) -> TrialRow | None:
        """Return the trained trial that saves another its training; None if that must be trained.

        Without a model there is no probe accuracy. What other code than this has trained is taken with all models that
        are wanted, or not at all, because this code would make others. A trial that may be stopped early is compared
        with others epoch by epoch.
        """
        if trial.stop is not None:
            return None
        donors = self.donors(trial.spec)
        for row in filter(self.has_model, donors):
            wanted = (epoch for epoch in trial.milestones if epoch < trial.spec.epochs)
            if all(self.has_model(row, epoch) for epoch in wanted) or self._is_of_own_code(row, trial.spec):
                return row
        own = [row for row in donors if self._is_of_own_code(row, trial.spec)]
        return next((row for row in own if row.status != "finished" or not trial.needs_probe), None)

    def has_model(self, row: TrialRow, epoch: int | None = None) -> bool:
        """Return whether there is a file of a trial's model, of its end or of a milestone; it may be damaged."""
        return (
            self._store is not None and row.status == "finished" and self._store.exists(model_path(row.trial_id, epoch))
        )

    def _is_of_own_code(self, row: TrialRow, spec: TrialSpec) -> bool:
        """Return whether a row is of the code that would train a trial here."""
        return self._store is not None and row.code == code_of(spec, self._store).digest

    def _start_id(self, spec: TrialSpec) -> str | None:
        if spec.start is None or self._store is None:
            return spec.start
        if spec.start not in self._ids and (row := read_row(self._store, spec.start)) is not None:
            self._row_id(row)
        return self._ids.get(spec.start) or spec.start

    def _row_id(self, row: TrialRow) -> str | None:
        """Return what names a row's weights; None for one that another raysl has written, or nobody's."""
        if row.trial_id not in self._ids:
            try:
                spec = TrialSpec.model_validate_json(row.spec)
                self._ids[row.trial_id] = self.id_of(spec) if spec.id == row.trial_id else None
            except (ValidationError, UserError, KeyError, TypeError, OSError):  # a method that is no longer there
                self._ids[row.trial_id] = None
        return self._ids[row.trial_id]


def _lasts(row: TrialRow) -> bool:
    """Return whether the same training would end as a trial has, whatever it is measured by."""
    if row.status == "diverged":
        return bool(row.curve) and not math.isfinite(row.curve[-1].loss)
    return row.status in ("finished", "collapsed")
