"""The trials that wait for their turn: those that are known, then those that adaptive searches propose."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from raysl.results.rows import TrialRow, read_rows
from raysl.results.store import Store
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.trials import Trial
from raysl.training.stopping import Race


class TrialQueue:
    """Hands out trials, each once; an adaptive search is asked for its next config when nothing else waits."""

    def __init__(
        self,
        trials: Iterable[Trial],
        searches: Sequence[AdaptiveSearch],
        rows: Mapping[str, TrialRow],
        proposed: Callable[[AdaptiveSearch], None],
    ) -> None:
        """Take what is known.

        rows: of trials that are done; those that end later are added (`ended`).
        proposed: told of a search that has a new config, before its trials are handed out.
        """
        self.waiting = deque(trials)
        self.searches = deque(searches)
        self.rows, self.proposed = dict(rows), proposed
        self.handed_out: dict[str, Trial] = {}

    def next(self) -> Trial | None:
        """Return the next trial; None where there will be none."""
        while True:
            while self.waiting:
                trial = self.waiting.popleft()
                if trial.spec.id not in self.handed_out:
                    self.handed_out[trial.spec.id] = trial
                    return trial
            if not self._propose():
                return None

    def ended(self, row: TrialRow) -> None:
        """Take note of a trial that has ended."""
        self.rows[row.trial_id] = row

    def _propose(self) -> bool:
        """Ask a search for its next config, each in turn; False where none has one."""
        while self.searches:
            search = self.searches[0]
            if trials := search.propose(self.rows):
                self.searches.rotate(-1)
                assert search.store is not None
                self.rows |= done_rows(search.store, trials)  # of another search of this folder, if any
                self.waiting.extend(trial for trial in trials if trial.spec.id not in self.rows)
                self.proposed(search)
                return True
            self.searches.popleft()
        return False


def united(trials: Iterable[Trial]) -> list[Trial]:
    """Return trials, each once, with the milestones of all who want it."""
    found: dict[str, Trial] = {}
    for trial in trials:
        before = found.setdefault(trial.spec.id, trial)
        milestones = tuple(sorted({*before.milestones, *trial.milestones}))
        # One who wants it trained to its end has it so.
        either = before if before.stop is None else trial
        found[trial.spec.id] = replace(either, milestones=milestones)
    return list(found.values())


def done_rows(store: Store, trials: Iterable[Trial]) -> dict[str, TrialRow]:
    """Return the rows of those trials of which nothing is left to train."""
    by_id = {trial.spec.id: trial for trial in trials}
    return {i: row for i, row in read_rows(store, by_id).items() if is_done(row, by_id[i], store)}


def is_done(row: TrialRow, trial: Trial, store: Store) -> bool:
    """Return whether nothing is left to train of a trial that has a row.

    A crash may have been the machine's; divergence and collapse are the trial's own and would only come again. One that
    was stopped early is done where it would race the same trials under the same rule, and nowhere else.
    """
    if row.status == "stopped":
        return trial.stop is not None and Race(store, trial.race, trial.stop).has(row.trial_id)
    return row.status != "failed"
