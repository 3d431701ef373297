"""The queue of trials to train: first the known ones, then those that searches propose from the rows of these."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from raysl.launch.coordination.claim_queue import ClaimQueue
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.stage_run import StageSearch
from raysl.results.criteria import asked_for
from raysl.results.records.rows import TrialRow, read_row, read_rows, write_row
from raysl.results.storage.store import Store
from raysl.search.shared_weights import SharedWeights
from raysl.search.trials import Trial
from raysl.training.early_stopping import EarlyStoppingCohort


class TrialQueue:
    """Hands out each trial once and to one driver; when none waits, searches propose further ones."""

    def __init__(
        self,
        trials: Iterable[Trial],
        searches: Sequence[StageSearch],
        rows: Mapping[str, TrialRow],
        leases: Leases,
        weights: SharedWeights | None = None,
        *,
        proposed: Callable[[StageSearch], None] = lambda search: None,
        found: Callable[[TrialRow], None] = lambda row: None,
        done: Callable[[Trial], TrialRow | None] | None = None,
    ) -> None:
        """Queue trials.

        trials: the known ones.  searches: propose further trials.
        rows: of trials that are done, by id; rows of trials that end later are added.
        weights: trained trials whose weights others can take over; all of the results folder if None.
        proposed: called with a search that has new trials, before they are handed out, or needs fewer than before.
        found: called with the row of a trial that was done elsewhere and is not handed out.
        done: returns a trial's row if nothing is left to train of it, else None.
        """
        self.searches = deque(searches)
        self.rows = dict(rows)
        self.proposed, self.found = proposed, found
        self.done = done or (lambda trial: done_row(leases.store, trial))
        self.handed_out: dict[str, Trial] = {}
        # By the id of a trial that is only measured: the row of the trial whose weights it takes over.
        self.donors: dict[str, TrialRow] = {}
        self._leases, self._store = leases, leases.store
        self._weights = weights or SharedWeights(leases.store)
        # Trials are claimed by their weights id, so that the same weights are trained once.
        self._items = ClaimQueue(
            (), leases, lambda t: self._weights.id_of(t.spec), self._is_done, self._weights.refresh
        )
        self._known: set[str] = set()
        self._first: Trial | None = None
        self._add(trials)

    @property
    def is_exhausted(self) -> bool:
        """Whether no trial will be handed out any more."""
        return self._first is None and self._items.is_empty and not self.searches

    def next(self) -> Trial | None:
        """Return the next trial; None if there is none at this moment, or none any more (`is_exhausted`)."""
        trial, self._first = self._first or self._find(), None
        if trial is not None:
            self.handed_out[trial.spec.id] = trial
        return trial

    def peek(self) -> bool:
        """Return whether there is a trial to hand out at this moment."""
        self._first = self._first or self._find()
        return self._first is not None

    def ended(self, row: TrialRow) -> None:
        """Record that a trial that was handed out has ended; its row is already written."""
        self.rows[row.trial_id] = row
        self._weights.add([row])
        self._items.ended(self.handed_out[row.trial_id])

    def _find(self) -> Trial | None:
        while True:
            trial = self._items.next()
            if trial is None:
                if not self._propose():
                    return None
            elif not self._is_taken_over(trial):
                return trial

    def _is_taken_over(self, trial: Trial) -> bool:
        """Write a trial's row from that of another trial with the same weights; return whether that was enough."""
        donor = self._weights.donor(trial)
        if donor is None and self._leases.others():
            self._weights.refresh()  # another driver may have trained it since
            donor = self._weights.donor(trial)
        if donor is None:
            return False
        if self._weights.has_model(donor):
            self.donors[trial.spec.id] = donor
            return False
        known = read_row(self._store, trial.spec.id)
        if known is not None and known.status == "finished":  # more than its row is wanted
            return False
        row = donor.for_another(trial.spec.id, trial.spec.model_dump_json())
        write_row(self._store, row)
        self.handed_out[row.trial_id], self.donors[row.trial_id] = trial, donor
        self.ended(row)
        self.found(row)
        return True

    def _is_done(self, trial: Trial) -> bool:
        row = self.done(trial)
        if row is not None:
            self.rows[row.trial_id] = row
            self.found(row)
        return row is not None

    def _add(self, trials: Iterable[Trial]) -> None:
        new = [trial for trial in trials if trial.spec.id not in self._known]
        self._known |= {trial.spec.id for trial in new}
        self._items.waiting.extend(new)

    def _propose(self) -> bool:
        """Ask the searches in turn for trials; return False if none has any at this moment."""
        for _ in range(len(self.searches)):
            search = self.searches.popleft()
            trials = search.propose(self.rows)
            if trials or not search.is_over:
                self.searches.append(search)
            if trials or search.num_saved:
                self.proposed(search)
            if trials:
                self._add(trial for trial in trials if trial.spec.id not in self.rows)
                return True
        return False


def united(trials: Iterable[Trial]) -> list[Trial]:
    """Return trials, each once, with the milestones and the criteria of all its duplicates."""
    found: dict[str, Trial] = {}
    for trial in trials:
        before = found.setdefault(trial.spec.id, trial)
        milestones = tuple(sorted({*before.milestones, *trial.milestones}))
        # If any duplicate has no early stopping, the trial has none.
        either = before if before.stop is None else trial
        needs_probe = before.needs_probe or trial.needs_probe
        criteria = asked_for((*before.criteria, *trial.criteria))
        found[trial.spec.id] = replace(either, milestones=milestones, needs_probe=needs_probe, criteria=criteria)
    return list(found.values())


def done_rows(store: Store, trials: Iterable[Trial]) -> dict[str, TrialRow]:
    """Return the rows of trials of which nothing is left to train, by id."""
    by_id = {trial.spec.id: trial for trial in trials}
    return {i: row for i, row in read_rows(store, by_id).items() if is_done(row, by_id[i], store)}


def done_row(store: Store, trial: Trial) -> TrialRow | None:
    """Return a trial's row; None if something is left to train of it."""
    row = read_row(store, trial.spec.id)
    return row if row is not None and is_done(row, trial, store) else None


def is_done(row: TrialRow, trial: Trial, store: Store) -> bool:
    """Return whether nothing is left to train of a trial that has a row.

    A failed trial is not done, because the machine may have caused the failure; a diverged or collapsed one is done,
    because it would end the same way again.  A trial that was stopped early is done if it would be compared with the
    same cohort under the same rule.  A finished one is not done as long as criteria are to be measured of it.
    """
    if (row.is_unprobed and trial.needs_probe) or row.lacks(trial.criteria):
        return False
    if row.status == "stopped":
        return trial.stop is not None and EarlyStoppingCohort(store, trial.cohort, trial.stop).has(row.trial_id)
    return row.status != "failed"
