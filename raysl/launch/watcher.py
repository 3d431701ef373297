"""What happens to trials on their way through Ray, passed on; and the rows of those that could not write their own."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import raysl
from raysl.launch.logs import last_error
from raysl.results.rows import TrialRow, read_row, write_row
from raysl.results.stages import SelectionRecord, StageRecord
from raysl.results.store import Store
from raysl.search.experiment import Resources
from raysl.search.trials import Trial


class TrialObserver(Protocol):
    """Is told how trials go, in the driver's main thread."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again."""

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch (0-based)."""

    def trial_ended(self, row: TrialRow) -> None:
        """A trial is done, well or not."""

    def waiting(self, what: str) -> None:
        """There is nothing to do until something has come; called again and again meanwhile."""


class Observer(TrialObserver, Protocol):
    """Is told how a search goes, in the driver's main thread."""

    def stages_started(self, records: Sequence[StageRecord], rows: Mapping[str, TrialRow], todo: int) -> None:
        """Stages begin; rows are those of trials that are done, todo the number of trials to train."""

    def cluster_starting(self) -> None:
        """Ray is about to start, which takes seconds."""

    def stage_selected(self, record: StageRecord, selection: SelectionRecord) -> None:
        """A stage's trials are done and its config is chosen."""

    def config_proposed(self, record: StageRecord) -> None:
        """An adaptive search has one more config; record is the stage's with it."""

    def models_lost(self, num_trials: int) -> None:
        """Models that are needed are gone, and their trials are about to be trained again; their rows stay."""

    def scoring_started(self, num_trials: int) -> None:
        """Trials' features are about to be scored on the test set."""

    def other_search(self, who: str) -> None:
        """Another search is on the results folder; what it trains is not trained here."""


class TrialWatcher:
    """Passes on what happens to trials, and writes the rows of those that could not write their own."""

    def __init__(
        self,
        trials: Mapping[str, Trial],
        resources: Resources,
        store: Store,
        observer: TrialObserver,
        ended: Callable[[TrialRow], None],
    ) -> None:
        self.trials, self.resources, self.store = trials, resources, store
        self.observer, self.ended = observer, ended
        self.started: dict[str, float] = {}

    def trial_started(self, trial_id: str) -> None:
        """A trial begins, or begins again."""
        self.started.setdefault(trial_id, time.time())
        self.observer.trial_started(trial_id)

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch."""
        self.observer.trial_progressed(trial_id, epoch, loss)

    def trial_ended(self, trial_id: str) -> None:
        """A trial is done: its row is there, or is written now."""
        row = read_row(self.store, trial_id)
        if row is None or row.status == "failed":
            row = self._failed(trial_id)
            write_row(self.store, row)
        self.observer.trial_ended(row)
        self.ended(row)

    def nothing_runs(self) -> None:
        """No trial has had its resources for some time."""
        self.observer.waiting("a node that can hold a trial")

    def _failed(self, trial_id: str) -> TrialRow:
        spec = self.trials[trial_id].spec
        return TrialRow(
            trial_id=trial_id,
            status="failed",
            reason=last_error(self.store, trial_id),
            method=str(spec.method["name"]),
            seed=spec.seed,
            final_loss=None,
            probe_accuracy=None,
            epochs=0,
            num_parameters=0,
            seconds=0.0,
            started_at=self.started.get(trial_id, time.time()),
            finished_at=time.time(),
            workers=self.resources.workers,
            device="",
            raysl_version=raysl.__version__,
            torch_version="",
            spec=spec.model_dump_json(),
            curve=(),
        )
