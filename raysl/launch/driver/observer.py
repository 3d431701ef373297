"""The interface of observers, which receive the events of a search.

Every method ends in `return`: without a statement a type checker would take it for abstract, and subclasses would have
to define all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import SelectionRecord, StageRecord
from raysl.search.code import OtherCode
from raysl.search.race import Drop


class TrialObserver(Protocol):
    """Receives the events of trials, in the thread that searches."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again after a failure."""
        return

    def trial_progressed(self, trial_id: str, epoch: int, epochs: int, loss: float) -> None:
        """A trial has finished an epoch (0-based) of so many."""
        return

    def trial_ended(self, row: TrialRow) -> None:
        """A trial has ended, successfully or not."""
        return

    def waiting(self, what: str) -> None:
        """The search waits for `what`, with nothing else to do; called repeatedly until then."""
        return


class Observer(TrialObserver, Protocol):
    """Receives the events of a search, in the thread that searches."""

    def noted(self, text: str) -> None:
        """A choice was made that the user has not asked for and may not expect."""
        return

    def stages_started(self, records: Sequence[StageRecord], rows: Mapping[str, TrialRow], todo: int) -> None:
        """Stages begin; rows: of the trials that are done, by id.  todo: the number of trials to train."""
        return

    def cluster_starting(self, at_most: float | None) -> None:
        """Ray is about to be started or connected to; the command ends if that takes more than `at_most` seconds."""
        return

    def stage_selected(self, record: StageRecord, selection: SelectionRecord) -> None:
        """A stage's trials have ended and its config is selected."""
        return

    def config_proposed(self, record: StageRecord) -> None:
        """An adaptive search has proposed a config; record: of the stage, with that config."""
        return

    def grid_extended(self, record: StageRecord, values: Mapping[str, float]) -> None:
        """Values were added beyond ends of a grid, by key; record: of the stage, with the trials of these."""
        return

    def race_decided(self, record: StageRecord, drops: Sequence[Drop], num_saved: int) -> None:
        """A round of a race has ended; record: of the stage, with the trials of the next one.

        Where configs are proposed one by one, some of them have got another seed or were dropped.
        drops: configs that get no more seeds.  num_saved: trials that are not needed any more.
        """
        return

    def folds_ended(self, record: StageRecord, config_id: str) -> None:
        """A config that is chosen by its folds is about to be trained with all labels.

        Called again if a trial of such a config ends badly, and another config takes its place.
        """
        return

    def other_code(self, found: OtherCode, again: bool) -> None:
        """Trials were made by other code than the code that runs; again: whether they are about to be trained again."""
        return

    def weights_shared(self, num_trials: int) -> None:
        """`num_trials` of the trials to train have the same weights as another trial: they are only measured."""
        return

    def models_lost(self, num_trials: int) -> None:
        """Needed models are missing; their trials are about to be trained again, and their rows stay."""
        return

    def scoring_started(self, num_trials: int) -> None:
        """Trials are about to be scored on the test set."""
        return

    def other_search(self, who: str) -> None:
        """Another search uses the results folder; trials that it trains are not trained here."""
        return
