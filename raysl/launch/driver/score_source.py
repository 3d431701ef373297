"""Scoring of trials on the test set, as work for a runner."""

from collections.abc import Iterable

from raysl.errors import SearchError
from raysl.launch.coordination.claim_queue import ClaimQueue
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.missing_artifacts import Unscored
from raysl.launch.driver.observer import TrialObserver
from raysl.launch.runtime.tasks import ScoreTask
from raysl.launch.runtime.trial_log import reason_of_death
from raysl.results.records.features import has_features
from raysl.results.records.rows import read_score
from raysl.results.storage.store import Store
from raysl.search.experiment import Resources
from raysl.training.paths import log_path


class ScoreSource:
    """The work of scoring trials; of several searches on the folder, only one scores a trial."""

    def __init__(
        self, trials: Iterable[Unscored], leases: Leases, resources: Resources, limit: int, observer: TrialObserver
    ) -> None:
        """Score trials.

        resources: of each trial.  limit: how many are scored at once.
        """
        self.resources, self.limit, self.store, self._observer = resources, limit, leases.store, observer
        self._items = ClaimQueue(trials, leases, _name, lambda one: _is_scored(one, leases.store))
        self._first: Unscored | None = None
        self._running: dict[str, Unscored] = {}
        self._died: dict[str, str] = {}

    @property
    def is_exhausted(self) -> bool:
        """Whether no trial will be handed out any more."""
        return self._first is None and self._items.is_empty

    def peek(self) -> bool:
        """Return whether there is a trial to score at this moment."""
        self._first = self._first or self._items.next()
        return self._first is not None

    def next(self) -> ScoreTask | None:
        """Return the next trial; None if there is none at this moment."""
        if not self.peek():
            return None
        assert self._first is not None
        one, self._first = self._first, None
        self._running[_name(one)] = one
        spec = one.spec.model_dump_json()
        return ScoreTask(_name(one), spec, self.store.uri, self.resources, keep_features=one.keep_features)

    def started(self, name: str) -> None:
        """A trial is about to be scored."""

    def progressed(self, name: str, epoch: int, loss: float) -> None:
        """Do nothing: scoring has no epochs."""

    def died(self, name: str, why: str) -> None:
        """An attempt at a score has ended."""
        self._died[name] = why

    def ended(self, name: str) -> None:
        """A trial is scored; raises SearchError if it has no score."""
        one = self._running.pop(name)
        if not _is_scored(one, self.store):
            trial_id = one.spec.id
            why = reason_of_death(self.store, trial_id, self._died.get(name, ""))
            log = self.store.address(log_path(trial_id))
            raise SearchError(f"trial {trial_id} could not be scored: {why}; log: {log}")
        self._items.ended(one)

    def nothing_runs(self) -> None:
        """No trial has had its resources for some time."""
        self._observer.waiting("a node that can hold a trial")


def _name(one: Unscored) -> str:
    return f"score-{one.spec.id}"


def _is_scored(one: Unscored, store: Store) -> bool:
    trial_id = one.spec.id
    return read_score(store, trial_id) is not None and (not one.keep_features or has_features(store, trial_id))
