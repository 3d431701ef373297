"""The trials of a stage whose configs are compared by cross-fitted accuracy."""

from collections import Counter
from collections.abc import Mapping

from raysl.results.records.rows import TrialRow
from raysl.search.experiment import Experiment, Stage
from raysl.search.selection import select
from raysl.search.trials import Datas, Trial, every_trial, stage_record, with_cohorts


class CrossFittedSearch:
    """The trials of the folds of all configs and seeds, and then those of the selected config with all labels.

    A config of which such a last trial diverges, collapses or fails is not eligible, and the next best is selected and
    trained.  Nothing but the rows decides it, so a search that was killed, one that is repeated, and two on one results
    folder train the same.
    """

    def __init__(
        self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str], created_at: float
    ) -> None:
        """Begin with the folds.

        starts: seed -> id of the trial that this seed starts from.  created_at: unix seconds.
        """
        self.num_saved = 0  # trials that are not needed any more: their number is known
        self.record = stage_record(experiment, stage, datas, starts, created_at)
        self.every = with_cohorts(every_trial(experiment, stage, datas, starts), self.record.stage_id)
        self.replay({})

    @property
    def is_over(self) -> bool:
        """Whether no trial will be asked for any more."""
        return not self._awaited and self._are_folds_done

    @property
    def num_trials_left(self) -> int:
        """The number of trials that may follow, at most: those of the config that the folds will select."""
        return 0 if self._are_folds_done else max(self._num_lacking.values(), default=0)

    def replay(self, rows: Mapping[str, TrialRow]) -> None:
        """Ask for the trials that follow from those that have ended; rows: by trial id."""
        folds = {trial.spec.id for trial in self.every if trial.spec.fold is not None}
        lacking = (trial for trial in self.every if trial.spec.fold is None and trial.spec.id not in rows)
        self._num_lacking = Counter(trial.config_id for trial in lacking)  # trials with all labels, by config
        self._are_folds_done = rows.keys() >= folds
        # The best config so far, whatever becomes of its own trials.
        self.best = select(self.record, rows, self.record.created_at).config_id if self._are_folds_done else None
        self.known = [
            trial
            for trial in self.every
            if trial.spec.id in folds or trial.spec.id in rows or trial.config_id == self.best
        ]
        self._awaited = {trial.spec.id for trial in self.known} - rows.keys()

    def propose(self, rows: Mapping[str, TrialRow]) -> tuple[Trial, ...]:
        """Return the trials that are added; empty if there is none (`is_over`), or not all have ended yet.

        rows: of the trials that have ended, by id.
        """
        if self.is_over or not self._awaited <= rows.keys():
            return ()
        self.replay(rows)
        return tuple(trial for trial in self.known if trial.spec.id in self._awaited)
