"""What a search has its cluster do."""

from dataclasses import dataclass, field
from typing import Protocol

from raysl.search.experiment import Resources
from raysl.sources import Libraries, libraries
from raysl.training.settings import StopSettings


@dataclass(frozen=True)
class Task:
    """Something to do on its way to a worker, in plain values.

    name: no other task has it at the same time.  spec: JSON of the TrialSpec.  store: URI of the results folder.
    given_up: whether it has died too often and only ends here.
    driver: the raysl and the torch of the process that has made it, which whoever does it must have too.
    """

    name: str
    spec: str
    store: str = field(repr=False)  # may hold keys
    resources: Resources
    given_up: bool = False
    driver: Libraries = field(default_factory=libraries)


@dataclass(frozen=True)
class TrainTask(Task):
    """A trial to train; its name is its id.  milestones, stop, cohort: as in `search.trials.Trial`.

    weights_of: a trained trial that has the same weights, so that this one is only measured.
    """

    milestones: tuple[int, ...] = ()
    stop: StopSettings | None = None
    cohort: str = ""
    weights_of: str | None = None


@dataclass(frozen=True)
class ScoreTask(Task):
    """A trial to score on the test set.  keep_features: whether its test features are kept."""

    keep_features: bool = False


class Work(Protocol):
    """Tasks, at most `limit` at once; called in the driver's main thread, where what it raises ends the search."""

    resources: Resources
    limit: int

    @property
    def is_exhausted(self) -> bool:
        """Whether no task will be handed out any more."""

    def next(self) -> Task | None:
        """Return the next task; None where there is none at this moment: if none runs either, the work is done."""

    def started(self, name: str) -> None:
        """A task has its resources and begins, or begins again."""

    def progressed(self, name: str, epoch: int, loss: float) -> None:
        """A task has finished an epoch (0-based)."""

    def died(self, name: str, why: str) -> None:
        """A task's process has died, or it has raised; why: what is known of that, many lines."""

    def ended(self, name: str) -> None:
        """A task is done, well or not."""

    def nothing_runs(self) -> None:
        """No task has had its resources for some time; called again and again meanwhile."""
