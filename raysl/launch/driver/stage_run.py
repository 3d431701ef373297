"""A stage while it is searched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import StageRecord
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.experiment import Experiment, Stage
from raysl.search.trials import Datas, Trial


@dataclass
class StageRun:
    """A stage of an experiment while it is searched.

    known: its trials, if all are known before the search.  record_before: its record when it was opened.
    rows: of the trials that were done when it was opened.
    adaptive: the adaptive search that proposes its configs; None if all are known.
    """

    experiment: Experiment
    datas: Datas
    stage: Stage
    known: Sequence[Trial]
    record_before: StageRecord
    rows: Mapping[str, TrialRow]
    adaptive: AdaptiveSearch | None = None

    @property
    def trials(self) -> list[Trial]:
        """All its trials so far."""
        return list(self.known) if self.adaptive is None else [t for trials in self.adaptive.trials for t in trials]

    @property
    def record(self) -> StageRecord:
        """The stage's record, with all its trials so far."""
        return self.record_before if self.adaptive is None else self.adaptive.record

    @property
    def todo(self) -> list[Trial]:
        """Its trials that are not done."""
        return [trial for trial in self.trials if trial.spec.id not in self.rows]

    @property
    def num_todo(self) -> int:
        """The number of trials to train, including those of configs that are not proposed yet."""
        left = self.adaptive.num_left if self.adaptive is not None else 0
        return len(self.todo) + left * len(self.experiment.seeds)

    def start_epochs(self) -> set[int | None]:
        """Return the numbers of epochs after which later stages take this stage's models; None stands for the end."""
        later = [other for other in self.experiment.stages if other.start_from == self.stage.name]
        ends = {config.settings.start_epoch for other in later for config in other.extremes}
        return {None if epoch == self.stage.settings.epochs else epoch for epoch in ends}


def num_todo(steps: Sequence[StageRun]) -> int:
    """Return how many trials stages have to train; shared trials count once."""
    known = {trial.spec.id for step in steps for trial in step.todo}
    return len(known) + sum(search.num_left * len(search.experiment.seeds) for search in searches_of(steps))


def searches_of(steps: Iterable[StageRun]) -> list[AdaptiveSearch]:
    """Return the adaptive searches of stages, each once."""
    return list({step.record.stage_id: step.adaptive for step in steps if step.adaptive is not None}.values())
