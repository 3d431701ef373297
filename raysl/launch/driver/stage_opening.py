"""Opens a stage: lists its trials, or its adaptive search, before any trial is trained."""

import time
from collections.abc import Mapping, Sequence

from raysl.errors import SearchError
from raysl.launch.driver.session import Session, Working
from raysl.launch.driver.setting_aside import set_aside
from raysl.launch.driver.stage_run import StageRun
from raysl.launch.driver.trial_queue import done_rows
from raysl.results.records.rows import read_rows
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.code import other_code
from raysl.search.cross_fitted import CrossFittedSearch
from raysl.search.experiment import Experiment, Stage
from raysl.search.extended import ExtendedSearch
from raysl.search.raced import RacedSearch
from raysl.search.raced_proposals import RacedProposals
from raysl.search.trials import Datas, Trial, expand, stage_id, stage_record, with_cohorts

Replayed = RacedSearch | RacedProposals | CrossFittedSearch  # rows alone decide which trials they have
ADAPTIVE = "adaptive"  # the claim to propose configs


class StageOpening:
    """Opens stages; an adaptive search that several experiments share is opened once."""

    def __init__(self, session: Session) -> None:
        self.session, self.store = session, session.store
        self._adaptive: dict[str, AdaptiveSearch] = {}  # by stage id
        self._replayed: dict[str, Replayed] = {}  # by stage id
        self._extended_searches: dict[str, ExtendedSearch] = {}  # by stage id
        self._token: int | None = None  # the fencing token of the claim to propose configs, once there is one
        self._of_other_code: set[str] = set()  # trials that were reported

    def open(self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]) -> Working[StageRun]:
        """Return a stage with its trials; starts: seed -> id of the trial that this seed starts from."""
        if stage.adaptive:
            name = stage_id(experiment, stage, datas, starts)
            if name not in self._adaptive:
                self._adaptive[name] = yield from self._adaptive_search(experiment, stage, datas, starts)
            search = self._adaptive[name]
            if isinstance(search, RacedProposals):
                return self._replay(search, experiment, stage, datas)
            proposed = search.known
            self._check_code(proposed)
            return StageRun(experiment, datas, stage, (), search.record, done_rows(self.store, proposed), search)
        if stage.race is not None:
            return self._replay(RacedSearch(experiment, stage, datas, starts, time.time()), experiment, stage, datas)
        if stage.folds is not None:
            cross_fitted = CrossFittedSearch(experiment, stage, datas, starts, time.time())
            return self._replay(cross_fitted, experiment, stage, datas)
        if stage.settings.search.extend:
            return self._extended(experiment, stage, datas, starts)
        expanded = expand(experiment, stage, datas, starts)
        record = stage_record(experiment, stage, datas, starts, time.time(), expanded)
        trials = with_cohorts(expanded, record.stage_id)
        self._check_code(trials)
        return StageRun(experiment, datas, stage, trials, record, done_rows(self.store, trials))

    def _replay(self, search: Replayed, experiment: Experiment, stage: Stage, datas: Datas) -> StageRun:
        """Return a stage with what the rows that are there decide."""
        search = self._replayed.setdefault(search.record.stage_id, search)
        search.replay(done_rows(self.store, search.every))
        self._check_code(search.known)
        rows = done_rows(self.store, search.every)  # without trials that were set aside
        search.replay(rows)
        known = {trial.spec.id for trial in search.known}
        asked = {trial_id: row for trial_id, row in rows.items() if trial_id in known}
        return StageRun(experiment, datas, stage, (), search.record, asked, search)

    def _extended(self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]) -> StageRun:
        search = ExtendedSearch(experiment, stage, datas, starts, time.time())
        search = self._extended_searches.setdefault(search.record.stage_id, search)
        while True:  # what was added before is added again
            self._check_code(search.known)
            rows = done_rows(self.store, search.known)
            if not search.propose(rows):
                return StageRun(experiment, datas, stage, (), search.record, rows, search)

    def _check_code(self, trials: Sequence[Trial]) -> None:
        """Report trials that were made by other code than the code that runs; set them aside with `--retrain code`.

        Raises SearchError if they would be set aside while another search, which may need them, uses the folder.
        """
        weights, options = self.session.weights, self.session.options
        rows = read_rows(self.store, [trial.spec.id for trial in trials])
        donors = [row for trial in trials if trial.spec.id not in rows and (row := weights.donor(trial)) is not None]
        found = other_code(self.store, (rows | {row.trial_id: row for row in donors}).values())
        if self._of_other_code.issuperset(found.trial_ids):
            return
        self._of_other_code |= set(found.trial_ids)
        again = options.retrain == "code"
        if again and (others := self.session.leases.others()):
            raise SearchError(f"--retrain code: another search ({others[0]}) is on this folder; wait for its end")
        self.session.observer.other_code(found, again)
        if again:
            set_aside(self.store, [trial for trial in trials if trial.spec.id in found.trial_ids])
            weights.refresh()

    def _adaptive_search(
        self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]
    ) -> Working[AdaptiveSearch]:
        """Return a stage's adaptive search; as long as it has configs to propose, no other driver proposes any."""
        kind = AdaptiveSearch if stage.race is None else RacedProposals
        if self._token is None:
            search = kind(experiment, stage, datas, starts, self.store, time.time())
            if search.num_left == 0:
                return search
            self._token = yield from self._claim(experiment)
        return kind(experiment, stage, datas, starts, self.store, time.time(), self._token)

    def _claim(self, experiment: Experiment) -> Working[int]:
        """Claim to propose configs, as soon as no other driver has claimed it; return the claim's fencing token."""
        leases = self.session.leases
        while (driver := leases.taken().get(ADAPTIVE)) or not leases.claim(ADAPTIVE):
            self.session.connection.capacity(experiment)
            who = f"the search of {driver}" if driver else "another search"
            yield from self.session.wait(f"{who}, which proposes configs in this folder")
        self.session.stack.callback(leases.release, ADAPTIVE)
        return leases.token(ADAPTIVE)
