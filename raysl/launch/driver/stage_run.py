"""A stage while it is searched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import StageRecord
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.cross_fitted import CrossFittedSearch
from raysl.search.experiment import Experiment, Stage
from raysl.search.extended import ExtendedSearch
from raysl.search.raced import RacedSearch
from raysl.search.raced_proposals import RacedProposals
from raysl.search.trials import Datas, Trial

# Proposes a stage's trials from the rows of earlier ones.
StageSearch = AdaptiveSearch | RacedProposals | RacedSearch | ExtendedSearch | CrossFittedSearch


@dataclass
class StageRun:
    """A stage of an experiment while it is searched.

    known: its trials, if all are known before the search.  record_before: its record when it was opened.
    rows: of the trials that were done when it was opened.
    search: proposes its trials while it is searched; None if all are known.
    """

    experiment: Experiment
    datas: Datas
    stage: Stage
    known: Sequence[Trial]
    record_before: StageRecord
    rows: Mapping[str, TrialRow]
    search: StageSearch | None = None

    @property
    def trials(self) -> list[Trial]:
        """All its trials so far."""
        return list(self.known if self.search is None else self.search.known)

    @property
    def record(self) -> StageRecord:
        """The stage's record, with all its trials so far."""
        return self.record_before if self.search is None else self.search.record

    @property
    def todo(self) -> list[Trial]:
        """Its trials that are not done."""
        return [trial for trial in self.trials if trial.spec.id not in self.rows]

    @property
    def num_todo(self) -> int:
        """The number of trials to train, including those that are not proposed yet, at most."""
        return len(self.todo) + (self.search.num_trials_left if self.search is not None else 0)

    def start_epochs(self) -> set[int | None]:
        """Return the numbers of epochs after which later stages take this stage's models; None stands for the end."""
        later = [other for other in self.experiment.stages if other.start_from == self.stage.name]
        ends = {config.settings.start_epoch for other in later for config in other.extremes}
        return {None if epoch == self.stage.settings.epochs else epoch for epoch in ends}


def num_todo(steps: Sequence[StageRun]) -> int:
    """Return how many trials stages have to train; shared trials count once."""
    known = {trial.spec.id for step in steps for trial in step.todo}
    return len(known) + sum(search.num_trials_left for search in searches_of(steps))


def searches_of(steps: Iterable[StageRun]) -> list[StageSearch]:
    """Return the searches of stages that propose their trials, each once."""
    return list({step.record.stage_id: step.search for step in steps if step.search is not None}.values())
