"""Trains the trials of stages that are not done."""

from collections.abc import Mapping, Sequence

from raysl.launch.driver.session import Session, Working
from raysl.launch.driver.stage_run import StageRun, StageSearch, searches_of
from raysl.launch.driver.throttled_records import ThrottledRecords
from raysl.launch.driver.train_source import TrainSource
from raysl.launch.driver.trial_queue import TrialQueue, united
from raysl.results.records.rows import TrialRow
from raysl.search.cross_fitted import CrossFittedSearch
from raysl.search.experiment import Experiment, Resources
from raysl.search.extended import ExtendedSearch
from raysl.search.raced import RacedSearch
from raysl.search.raced_proposals import RacedProposals


class StageTraining:
    """Trains the trials of stages that are not done."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.throttled_records = ThrottledRecords(session.store)  # records of stages to which trials are added

    def train(self, steps: Sequence[StageRun], rows: Mapping[str, TrialRow]) -> Working[None]:
        """Train the trials of stages that are not done; trials of the same resources are trained together.

        rows: of the trials that are done, by id.
        """
        parts: dict[Resources, list[StageRun]] = {}
        for step in steps:
            if step.num_todo:
                parts.setdefault(step.experiment.resources, []).append(step)
        done = dict(rows)
        seen: set[str] = set()
        asked: set[str] = set()
        for part in parts.values():
            todo = [trial for trial in united(t for step in part for t in step.todo) if trial.spec.id not in seen]
            searches = [search for search in searches_of(part) if search.record.stage_id not in asked]
            asked |= {search.record.stage_id for search in searches}
            seen |= {trial.spec.id for trial in todo}
            queue = TrialQueue(
                todo,
                searches,
                done,
                self.session.leases,
                self.session.weights,
                proposed=self._proposed,
                found=self.session.trial_found,
            )
            yield from train_queue(self.session, part[0].experiment, queue)
            done |= queue.rows
        self.throttled_records.write()

    def num_shared(self, steps: Sequence[StageRun]) -> int:
        """Return how many trials need no training, because another trial has the same weights."""
        weights = self.session.weights
        seen: set[str] = set()
        count = 0
        for trial in united(trial for step in steps for trial in step.todo):
            if trial.stop is None:
                name = weights.id_of(trial.spec)
                count += name in seen or weights.donor(trial) is not None
                seen.add(name)
        return count

    def _proposed(self, search: StageSearch) -> None:
        self.throttled_records.has(search.record)
        if isinstance(search, RacedSearch | RacedProposals):
            has_proposed = isinstance(search, RacedProposals) and search.has_proposed
            if search.num_saved or not has_proposed:
                self.session.observer.race_decided(search.record, search.news, search.num_saved)
            if has_proposed:
                self.session.observer.config_proposed(search.record)
        elif isinstance(search, ExtendedSearch):
            self.session.observer.grid_extended(search.record, search.news)
        elif isinstance(search, CrossFittedSearch):
            self.session.observer.folds_ended(search.record, str(search.best))
        else:
            self.session.observer.config_proposed(search.record)
        self.session.changed()


def train_queue(session: Session, experiment: Experiment, queue: TrialQueue) -> Working[None]:
    """Train the trials of a queue, each with the resources that the experiment gives a trial."""
    while not queue.is_exhausted:
        if queue.peek():
            limit = session.limit(experiment)
            yield TrainSource(queue, session.store, experiment.resources, limit, session.observer, session.trial_ended)
        elif not queue.is_exhausted:
            yield from session.wait("trials that another search trains")
