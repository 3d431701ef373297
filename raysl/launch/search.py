"""An experiment, stage by stage: train what is not trained, select, score, publish."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal, Protocol

import raysl
from raysl.data.settings import TrialData
from raysl.launch.logs import last_error
from raysl.results.rows import TrialRow, read_row, read_rows, read_scores, write_row
from raysl.results.stages import SelectionRecord, StageRecord, read_selections, write_selection, write_stage
from raysl.results.store import Store
from raysl.results.tables import publish
from raysl.search.chain import selected_starts
from raysl.search.experiment import Experiment, Stage
from raysl.search.selection import select
from raysl.search.summary import summarise_store
from raysl.search.trials import Trial, expand, stage_record
from raysl.training.paths import model_path
from raysl.training.seal import is_whole

WhoseScores = Literal["selected", "all"]


class Observer(Protocol):
    """Is told how a search goes, in the driver's main thread."""

    def stage_started(self, record: StageRecord, rows: Mapping[str, TrialRow], todo: int) -> None:
        """A stage begins; rows are those of trials that are done, todo the number of trials to train."""

    def cluster_starting(self) -> None:
        """Ray is about to start, which takes seconds."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again."""

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch (0-based)."""

    def trial_ended(self, row: TrialRow) -> None:
        """A trial is done, well or not."""

    def stage_selected(self, record: StageRecord, selection: SelectionRecord) -> None:
        """A stage's trials are done and its config is chosen."""

    def scoring_started(self, num_trials: int) -> None:
        """Trials' features are about to be scored on the test set."""


@dataclass(frozen=True)
class Options:
    """How a search is launched.

    address: of a Ray cluster; None starts a local one.  max_concurrent: trials at once; None is as many as fit.
    score: which trials are scored on the test set, once the selection is written.
    """

    address: str | None = None
    max_concurrent: int | None = None
    score: WhoseScores = "selected"


@dataclass
class Outcome:
    """What a search did: the number of trials that it trained, the failed ones, and the stages it could not do."""

    trained: int = 0
    failed: list[TrialRow] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)


class Search:
    """One experiment on one results folder."""

    def __init__(
        self,
        experiment: Experiment,
        data: TrialData,
        store: Store,
        options: Options,
        observer: Observer,
        changed: Callable[[], None],
    ) -> None:
        """Take what to search; changed is called whenever the results folder holds something new."""
        self.experiment, self.data, self.store = experiment, data, store
        self.options, self.observer, self.changed = options, observer, changed
        self.outcome = Outcome()
        self._stack = ExitStack()
        self._capacity: int | None = None

    def execute(self) -> Outcome:
        """Do all that is not done yet; what a kill at any moment leaves undone, the next call does."""
        with self._stack:
            try:
                for stage in self.experiment.stages:
                    starts = selected_starts(self.experiment, stage, self.data, self.store)
                    if starts is None:
                        self.outcome.unselected.append(stage.name)
                    else:
                        self._do_stage(stage, starts)
            finally:
                publish(self.store, summarise_store(self.store))
        return self.outcome

    def _do_stage(self, stage: Stage, starts: Mapping[int, str]) -> None:
        trials = expand(self.experiment, stage, self.data, starts)
        record = stage_record(self.experiment, stage, trials, created_at=time.time())
        write_stage(self.store, record)
        rows = read_rows(self.store, [trial.spec.id for trial in trials])
        # A crash may have been the machine's; divergence is the trial's own and would only come again.
        done = {trial_id: row for trial_id, row in rows.items() if row.status != "failed"}
        todo = [trial for trial in trials if trial.spec.id not in done]
        self.observer.stage_started(record, done, len(todo))
        self._train(todo)
        rows = read_rows(self.store, [trial.spec.id for trial in trials])
        selection = select(record, rows, selected_at=time.time())
        write_selection(self.store, selection)
        if selection.config_id is None:
            self.outcome.unselected.append(stage.name)
        self.observer.stage_selected(record, selection)
        self._score(stage, trials, rows, selection)
        self._prune(trials, rows)
        publish(self.store, summarise_store(self.store))
        self.changed()

    def _train(self, trials: Sequence[Trial]) -> None:
        if not trials:
            return
        from raysl.launch.schedule import run_trials

        capacity = self._start_cluster()
        limit = min(capacity, self.options.max_concurrent or capacity)
        watcher = _Watcher(trials, self)
        run_trials(trials, self.store, self.experiment.resources, limit, watcher)
        self.outcome.trained += len(trials)

    def _score(
        self, stage: Stage, trials: Sequence[Trial], rows: Mapping[str, TrialRow], selection: SelectionRecord
    ) -> None:
        """Score on the test set what was selected; models that are needed and were dropped are trained again."""
        wanted = {t.spec.id: t for t in trials if self.options.score == "all" or t.spec.id in selection.trial_ids}
        finished = {i: t for i, t in wanted.items() if i in rows and rows[i].status == "finished"}
        scores = read_scores(self.store, finished)
        starts_others = any(other.start_from == stage.name for other in self.experiment.stages)
        kept = set(selection.trial_ids) if starts_others else set()
        lost = [
            trial
            for trial_id, trial in finished.items()
            if (trial_id not in scores or trial_id in kept) and not is_whole(self.store, model_path(trial_id))
        ]
        self._train(lost)
        todo = [trial for trial_id, trial in finished.items() if trial_id not in scores]
        if not todo:
            return
        from raysl.launch.scoring import score_trials

        self._start_cluster()
        self.observer.scoring_started(len(todo))
        score_trials([trial.spec for trial in todo], self.store, self.experiment.resources)

    def _prune(self, trials: Sequence[Trial], rows: Mapping[str, TrialRow]) -> None:
        """Drop models that no selection in this folder has chosen, and checkpoints of trials that are done."""
        done = {f"{trial_id}.pt" for trial_id, row in rows.items() if row.status != "failed"}
        for name in done & set(self.store.list("checkpoints", ".pt")):
            self.store.delete(f"checkpoints/{name}")
        chosen = {trial_id for record in read_selections(self.store).values() for trial_id in record.trial_ids}
        for trial in trials:
            if trial.spec.id not in chosen:
                self.store.delete(model_path(trial.spec.id))

    def _start_cluster(self) -> int:
        if self._capacity is None:
            self.observer.cluster_starting()
            from raysl.launch import feasibility
            from raysl.launch.cluster import cluster, nodes

            self._stack.enter_context(cluster(self.options.address))
            resources = self.experiment.resources
            self._capacity = feasibility.check(resources, nodes(), self.experiment.place("resources"))
        return self._capacity


class _Watcher:
    """Passes on what happens to trials, and writes the rows of those that could not write their own."""

    def __init__(self, trials: Sequence[Trial], search: Search) -> None:
        self.trials = {trial.spec.id: trial for trial in trials}
        self.search = search
        self.started: dict[str, float] = {}

    def trial_started(self, trial_id: str) -> None:
        self.started.setdefault(trial_id, time.time())
        self.search.observer.trial_started(trial_id)

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        self.search.observer.trial_progressed(trial_id, epoch, loss)

    def trial_ended(self, trial_id: str) -> None:
        store = self.search.store
        row = read_row(store, trial_id)
        if row is None or row.status == "failed":
            row = self._failed(trial_id)
            write_row(store, row)
            self.search.outcome.failed.append(row)
        self.search.observer.trial_ended(row)
        self.search.changed()

    def _failed(self, trial_id: str) -> TrialRow:
        spec = self.trials[trial_id].spec
        return TrialRow(
            trial_id=trial_id,
            status="failed",
            reason=last_error(self.search.store, trial_id),
            method=str(spec.method["name"]),
            seed=spec.seed,
            final_loss=None,
            probe_accuracy=None,
            epochs=0,
            num_parameters=0,
            seconds=0.0,
            started_at=self.started.get(trial_id, time.time()),
            finished_at=time.time(),
            workers=self.search.experiment.resources.workers,
            device="",
            raysl_version=raysl.__version__,
            torch_version="",
            spec=spec.model_dump_json(),
            curve=(),
        )
