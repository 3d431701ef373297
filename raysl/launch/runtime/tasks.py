"""The tasks that a search gives to a cluster or to its own process."""

from dataclasses import dataclass, field
from typing import Protocol

from raysl.results.criteria import CriterionName
from raysl.search.experiment import Resources
from raysl.sources import Libraries, libraries
from raysl.training.settings import StopSettings


@dataclass(frozen=True)
class Task:
    """A task as it is sent to a worker, in plain values.

    name: unique among the tasks of a moment.  spec: JSON of the TrialSpec.  store: URI of the results folder.
    given_up: whether it has failed too often and is to end without doing anything.
    driver: the raysl and the torch of the process that created it; the worker must have the same.
    """

    name: str
    spec: str
    store: str = field(repr=False)  # may hold keys
    resources: Resources
    given_up: bool = False
    driver: Libraries = field(default_factory=libraries)


@dataclass(frozen=True)
class TrainTask(Task):
    """A trial to train; its name is its id.  milestones, stop, cohort, criteria: as in `search.trials.Trial`.

    weights_of: id of a trained trial with the same weights, if there is one; this trial is then only measured.
    """

    milestones: tuple[int, ...] = ()
    stop: StopSettings | None = None
    cohort: str = ""
    weights_of: str | None = None
    criteria: tuple[CriterionName, ...] = ()


@dataclass(frozen=True)
class ScoreTask(Task):
    """A trial to score on the test set.  keep_features: whether its test features are kept."""

    keep_features: bool = False


class Work(Protocol):
    """Tasks, at most `limit` at once; called in the driver's main thread, and its exceptions end the search."""

    resources: Resources
    limit: int

    @property
    def is_exhausted(self) -> bool:
        """Whether no task will be handed out any more."""

    def next(self) -> Task | None:
        """Return the next task; None if there is none at this moment.  If none runs either, the work is done."""

    def started(self, name: str) -> None:
        """A task has its resources and begins, or begins again after a failure."""

    def progressed(self, name: str, epoch: int, loss: float) -> None:
        """A task has finished an epoch (0-based)."""

    def died(self, name: str, why: str) -> None:
        """A task's process has died, or the task has raised; why: what is known of the failure, in many lines."""

    def ended(self, name: str) -> None:
        """A task has ended, successfully or not."""

    def nothing_runs(self) -> None:
        """No task has had its resources for some time; called repeatedly until one has."""
