"""Training of the trials of a queue, as work for a runner; a trial that could not write its row gets one."""

import time
from collections.abc import Callable

import raysl
from raysl.errors import LibrariesError, ResourcesError, ResultsError, SearchError
from raysl.launch.driver.observer import TrialObserver
from raysl.launch.driver.trial_queue import TrialQueue
from raysl.launch.runtime.tasks import TrainTask
from raysl.launch.runtime.trial_log import reason_of_death
from raysl.results.records.rows import TrialRow, read_row, write_row
from raysl.results.storage.store import Store
from raysl.search.experiment import Resources


class TrainSource:
    """The work of training the trials of a queue, including those that are added meanwhile."""

    def __init__(
        self,
        queue: TrialQueue,
        store: Store,
        resources: Resources,
        limit: int,
        observer: TrialObserver,
        ended: Callable[[TrialRow], None],
    ) -> None:
        """Train the trials of a queue.

        resources: of each trial.  limit: how many are trained at once.  ended: called with each row.
        """
        self.queue, self.store, self.resources, self.limit = queue, store, resources, limit
        self._observer, self._ended = observer, ended
        self._started: dict[str, float] = {}
        self._died: dict[str, str] = {}

    @property
    def is_exhausted(self) -> bool:
        """Whether no trial will be handed out any more."""
        return self.queue.is_exhausted

    def next(self) -> TrainTask | None:
        """Return the next trial; None if there is none at this moment."""
        trial = self.queue.next()
        if trial is None:
            return None
        return TrainTask(
            trial.spec.id,
            trial.spec.model_dump_json(),
            self.store.uri,
            self.resources,
            milestones=trial.milestones,
            stop=trial.stop,
            cohort=trial.cohort,
            criteria=trial.criteria,
            weights_of=donor.trial_id if (donor := self.queue.donors.get(trial.spec.id)) else None,
        )

    def started(self, name: str) -> None:
        """A trial begins, or begins again."""
        self._started.setdefault(name, time.time())
        self._observer.trial_started(name)

    def progressed(self, name: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch."""
        self._observer.trial_progressed(name, epoch, self.queue.handed_out[name].spec.epochs, loss)

    def died(self, name: str, why: str) -> None:
        """An attempt at a trial has failed.

        Raises ResultsError if the results folder cannot be written: all other trials would fail too.
        """
        self._died[name] = why
        if ResultsError.__name__ in why:
            self.store.check_writable()

    def ended(self, name: str) -> None:
        """A trial has ended: its row exists, or is written now.

        Raises SearchError if its process has another raysl or torch than the driver, or no GPU that PyTorch can use.
        """
        row = read_row(self.store, name)
        if row is None or row.status == "failed":
            row = self._failed(name)
            for kind in (LibrariesError, ResourcesError):
                if why := row.reason.partition(f"{kind.__name__}: ")[2]:
                    raise SearchError(why)  # every other trial would end the same way
            write_row(self.store, row)
        self.queue.ended(row)
        self._observer.trial_ended(row)
        self._ended(row)

    def nothing_runs(self) -> None:
        """No trial has had its resources for some time."""
        self._observer.waiting("a node that can hold a trial")

    def _failed(self, trial_id: str) -> TrialRow:
        spec = self.queue.handed_out[trial_id].spec
        return TrialRow(
            trial_id=trial_id,
            status="failed",
            reason=reason_of_death(self.store, trial_id, self._died.get(trial_id, "")),
            method=str(spec.method["name"]),
            seed=spec.seed,
            final_loss=None,
            probe={},
            epochs=0,
            num_parameters=0,
            seconds=0.0,
            started_at=self._started.get(trial_id, time.time()),
            finished_at=time.time(),
            workers=self.resources.workers,
            device="",
            raysl_version=raysl.__version__,
            torch_version="",
            spec=spec.model_dump_json(),
            curve=(),
        )
