"""Who is told how a search goes.

A method ends in `return`, for a type checker takes one without a statement for abstract; an observer need not have all.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from raysl.results.records.rows import TrialRow
from raysl.results.records.stages import SelectionRecord, StageRecord
from raysl.search.code import OtherCode


class TrialObserver(Protocol):
    """Is told how trials go, in the thread that searches."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again."""
        return

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch (0-based)."""
        return

    def trial_ended(self, row: TrialRow) -> None:
        """A trial is done, well or not."""
        return

    def waiting(self, what: str) -> None:
        """There is nothing to do until something has come; called again and again meanwhile."""
        return


class Observer(TrialObserver, Protocol):
    """Is told how a search goes, in the thread that searches."""

    def noted(self, text: str) -> None:
        """Something that the user has not said and may not expect."""
        return

    def stages_started(self, records: Sequence[StageRecord], rows: Mapping[str, TrialRow], todo: int) -> None:
        """Stages begin; rows are those of trials that are done, todo the number of trials to train."""
        return

    def cluster_starting(self, at_most: float | None) -> None:
        """Ray is about to start or to be connected to; the command ends where it takes more seconds than `at_most`."""
        return

    def stage_selected(self, record: StageRecord, selection: SelectionRecord) -> None:
        """A stage's trials are done and its config is chosen."""
        return

    def config_proposed(self, record: StageRecord) -> None:
        """An adaptive search has one more config; record is the stage's with it."""
        return

    def other_code(self, found: OtherCode, again: bool) -> None:
        """Trials are of other code than what runs; `again` where they are about to be trained again for that."""
        return

    def weights_shared(self, num_trials: int) -> None:
        """Of the trials to train, so many have the weights of another trial: they are only measured."""
        return

    def models_lost(self, num_trials: int) -> None:
        """Models that are needed are gone, and their trials are about to be trained again; their rows stay."""
        return

    def scoring_started(self, num_trials: int) -> None:
        """Trials' features are about to be scored on the test set."""
        return

    def other_search(self, who: str) -> None:
        """Another search is on the results folder; what it trains is not trained here."""
        return
