"""Experiments, stage by stage: train what is not trained, select, score, publish."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal, Protocol

from raysl.launch.queue import TrialQueue, done_rows, united
from raysl.launch.step import Step, num_todo, searches_of
from raysl.launch.watcher import TrialObserver, TrialWatcher
from raysl.results.features import features_path, has_features
from raysl.results.rows import TrialRow, read_rows, read_scores
from raysl.results.stages import SelectionRecord, StageRecord, read_selections, write_selection, write_stage
from raysl.results.store import Store
from raysl.results.tables import publish
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.chain import selected_starts
from raysl.search.experiment import Experiment, Resources, Stage
from raysl.search.selection import select
from raysl.search.summary import summarise_store
from raysl.search.trials import Datas, Trial, expand, raced, stage_id, stage_record
from raysl.training.paths import model_path
from raysl.training.seal import is_whole

WhoseScores = Literal["selected", "all"]
FILLED = 8  # experiments are searched together until their trials fill the cluster so many times over


class Observer(TrialObserver, Protocol):
    """Is told how a search goes, in the driver's main thread."""

    def stages_started(self, records: Sequence[StageRecord], rows: Mapping[str, TrialRow], todo: int) -> None:
        """Stages begin; rows are those of trials that are done, todo the number of trials to train."""

    def cluster_starting(self) -> None:
        """Ray is about to start, which takes seconds."""

    def stage_selected(self, record: StageRecord, selection: SelectionRecord) -> None:
        """A stage's trials are done and its config is chosen."""

    def config_proposed(self, record: StageRecord) -> None:
        """An adaptive search has one more config; record is the stage's with it."""

    def models_lost(self, num_trials: int) -> None:
        """Models that are needed are gone, and their trials are about to be trained again; their rows stay."""

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
    """What a search did: the number of trials that it trained, the failed ones, and the stages it could not do.

    stage_ids: of the stages that it came to, by the experiment's place in the search and the stage's name; None where
        there is no model for it to start from.
    """

    trained: int = 0
    failed: list[TrialRow] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)
    stage_ids: dict[tuple[int, str], str | None] = field(default_factory=dict)


class Search:
    """Experiments on one results folder; what several of them need is trained once."""

    def __init__(
        self,
        experiments: Sequence[tuple[Experiment, Datas]],
        store: Store,
        options: Options,
        observer: Observer,
        changed: Callable[[Outcome], None],
    ) -> None:
        """Take what to search; changed is called whenever the results folder holds something new."""
        self.experiments, self.store = experiments, store
        self.options, self.observer, self.changed = options, observer, changed
        self.outcome = Outcome()
        self._stack = ExitStack()
        self._connected = False
        self._adaptive: dict[str, AdaptiveSearch] = {}  # by stage id: what several experiments need is proposed once

    def execute(self) -> Outcome:
        """Do all that is not done yet; what a kill at any moment leaves undone, the next call does."""
        with self._stack:
            try:
                for group in self._groups():
                    self._do(list(group.values()))
                    for depth in range(1, max(len(self.experiments[index][0].stages) for index in group)):
                        opened = (self._open(index, depth) for index in group)
                        self._do([step for step in opened if step is not None])
                self.changed(self.outcome)  # a last stage may have had nothing to start from
            finally:
                publish(self.store, summarise_store(self.store))
        return self.outcome

    def _groups(self) -> Iterator[dict[int, Step]]:
        """Yield the first stages of experiments to search together: of few on a laptop, so that each is soon done."""
        group: dict[int, Step] = {}
        waiting = 0.0
        for index, (experiment, _) in enumerate(self.experiments):
            step = self._open(index, depth=0)
            assert step is not None, "a first stage starts from scratch"
            group[index] = step
            if step.num_todo:
                waiting += step.num_todo / self._capacity(experiment)
            if waiting >= FILLED or index == len(self.experiments) - 1:
                yield group
                group, waiting = {}, 0.0

    def _open(self, index: int, depth: int) -> Step | None:
        """Return a stage, ready; None where its experiment has none so deep, or there is no model to start from."""
        experiment, datas = self.experiments[index]
        if depth >= len(experiment.stages):
            return None
        stage = experiment.stages[depth]
        starts = selected_starts(experiment, stage, datas, self.store)
        if starts is None:
            self.outcome.stage_ids[index, stage.name] = None
            self._note_unselected(experiment, datas, stage)
            return None
        step = self._step(experiment, stage, datas, starts)
        self.outcome.stage_ids[index, stage.name] = step.record.stage_id
        return step

    def _step(self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]) -> Step:
        now = time.time()
        if stage.adaptive:
            name = stage_id(experiment, stage, datas, starts)
            search = self._adaptive.get(name) or AdaptiveSearch(experiment, stage, datas, starts, self.store, now)
            self._adaptive[name] = search
            rows = done_rows(self.store, [trial for config in search.trials for trial in config])
            return Step(experiment, datas, stage, (), search.record, rows, search)
        record = stage_record(experiment, stage, datas, starts, now)
        trials = raced(expand(experiment, stage, datas, starts), record.stage_id)
        return Step(experiment, datas, stage, trials, record, done_rows(self.store, trials))

    def _do(self, steps: Sequence[Step]) -> None:
        if not steps:
            return
        for step in steps:
            write_stage(self.store, step.record)
        self.changed(self.outcome)
        done = {i: row for step in steps for i, row in step.rows.items()}
        self.observer.stages_started([step.record for step in steps], done, num_todo(steps))
        self._train_steps(steps, done)
        rows = read_rows(self.store, _by_id(trial for step in steps for trial in step.trials))
        self._score([(step, self._select(step, rows)) for step in steps], rows)
        self._prune(_by_id(trial for step in steps for trial in step.trials), rows)
        publish(self.store, summarise_store(self.store))
        self.changed(self.outcome)

    def _select(self, step: Step, rows: Mapping[str, TrialRow]) -> SelectionRecord:
        selection = select(step.record, rows, selected_at=time.time())
        write_selection(self.store, selection)
        if selection.config_id is None:
            self._note_unselected(step.experiment, step.datas, step.stage)
        self.observer.stage_selected(step.record, selection)
        return selection

    def _note_unselected(self, experiment: Experiment, datas: Datas, stage: Stage) -> None:
        data = datas[stage.name]
        variant = experiment.variant_of(stage)
        more = f", {variant}" if variant else ""
        attacked = ", attacked" if data.attack else ""
        long = f"{experiment.name}/{stage.name} of {data.source}, {experiment.model.backbone}{attacked}{more}"
        self.outcome.unselected.append(long if len(self.experiments) > 1 else stage.name)

    def _train_steps(self, steps: Sequence[Step], rows: Mapping[str, TrialRow]) -> None:
        """Train what steps lack, those that take the same resources at once."""
        parts: dict[Resources, list[Step]] = {}
        for step in steps:
            if step.num_todo:
                parts.setdefault(step.experiment.resources, []).append(step)
        seen: set[str] = set()
        asked: set[str] = set()
        for part in parts.values():
            todo = [trial for trial in united(t for step in part for t in step.todo) if trial.spec.id not in seen]
            searches = [search for search in searches_of(part) if search.record.stage_id not in asked]
            asked |= {search.record.stage_id for search in searches}
            seen |= {trial.spec.id for trial in todo}
            self._train(part[0].experiment, TrialQueue(todo, searches, rows, self._proposed))

    def _proposed(self, search: AdaptiveSearch) -> None:
        write_stage(self.store, search.record)
        self.observer.config_proposed(search.record)
        self.changed(self.outcome)

    def _train(self, experiment: Experiment, queue: TrialQueue) -> None:
        """Train the trials of a queue, with the resources that an experiment has for each."""
        from raysl.launch.schedule import run_trials

        capacity = self._capacity(experiment)
        limit = min(capacity, self.options.max_concurrent or capacity)

        def ended(row: TrialRow) -> None:
            queue.ended(row)
            self._trial_ended(row)

        watcher = TrialWatcher(queue.handed_out, experiment.resources, self.store, self.observer, ended)
        run_trials(queue, self.store, experiment.resources, limit, watcher)
        self.outcome.trained += len(queue.handed_out)

    def _trial_ended(self, row: TrialRow) -> None:
        if row.status == "failed":
            self.outcome.failed.append(row)
        self.changed(self.outcome)

    def _score(self, chosen: Sequence[tuple[Step, SelectionRecord]], rows: Mapping[str, TrialRow]) -> None:
        """Score what was selected and keep its test features; needed models that were dropped are trained again."""
        todo: dict[str, tuple[Experiment, Trial]] = {}
        lost: dict[Resources, list[Trial]] = {}
        owners: dict[Resources, Experiment] = {}
        for step, selection in chosen:
            wanted = (t for t in step.trials if self.options.score == "all" or t.spec.id in selection.trial_ids)
            finished = {i: t for i, t in _by_id(wanted).items() if i in rows and rows[i].status == "finished"}
            scores = read_scores(self.store, finished)
            starts = step.start_epochs()
            kept = set(selection.trial_ids) if starts else set()
            bare = {i for i in finished if i in selection.trial_ids and not has_features(self.store, i)}
            lacking = {i: trial for i, trial in finished.items() if i not in scores or i in bare}
            todo |= {i: (step.experiment, trial) for i, trial in lacking.items()}
            needed = lacking | {i: trial for i, trial in finished.items() if i in kept}
            gone = [trial for i, trial in needed.items() if not self._has_models(trial, starts if i in kept else set())]
            if gone:
                owners.setdefault(step.experiment.resources, step.experiment)
                lost.setdefault(step.experiment.resources, []).extend(gone)
        if lost:
            self.observer.models_lost(len(united(trial for trials in lost.values() for trial in trials)))
        for resources, trials in lost.items():
            self._train(owners[resources], TrialQueue(united(trials), (), {}, self._proposed))
        if not todo:
            return
        from raysl.launch.scoring import score_trials

        self._capacity(chosen[0][0].experiment)
        self.observer.scoring_started(len(todo))
        selected = {trial_id for _, selection in chosen for trial_id in selection.trial_ids}
        score_trials([(trial.spec, experiment.resources) for experiment, trial in todo.values()], self.store, selected)

    def _has_models(self, trial: Trial, epochs: set[int | None]) -> bool:
        """Return whether a trial's models are there: that of its end, and those after some epochs.

        One that trains nothing has none; what it starts from is seen to with the stage that it starts from.
        """
        wanted = epochs | {None} if trial.spec.trains else ()
        return all(is_whole(self.store, model_path(trial.spec.id, epoch)) for epoch in wanted)

    def _prune(self, trials: Iterable[str], rows: Mapping[str, TrialRow]) -> None:
        """Drop models and features that no selection here has chosen, and checkpoints of trials that are done."""
        done = {f"{trial_id}.pt" for trial_id, row in rows.items() if row.status != "failed"}
        for name in done & set(self.store.list("checkpoints", ".pt")):
            self.store.delete(f"checkpoints/{name}")
        chosen = {trial_id for record in read_selections(self.store).values() for trial_id in record.trial_ids}
        models: dict[str, list[str]] = {}
        for name in self.store.list("models", ".pt"):
            models.setdefault(name.removesuffix(".pt").partition("@")[0], []).append(name)
        for trial_id in trials:
            if trial_id not in chosen:
                self.store.delete(features_path(trial_id))
                for name in models.get(trial_id, ()):
                    self.store.delete(f"models/{name}")

    def _capacity(self, experiment: Experiment) -> int:
        """Return how many of an experiment's trials fit at once.

        Starts the cluster if it is not there yet; raises ResourcesError then for any of the experiments that it can
        never hold, before the others are trained.
        """
        from raysl.launch import feasibility
        from raysl.launch.cluster import cluster, nodes

        if not self._connected:
            self.observer.cluster_starting()
            self._stack.enter_context(cluster(self.options.address))
            self._connected = True
            for other, _ in self.experiments:
                feasibility.check(other.resources, nodes(), other.place("resources"))
        return feasibility.check(experiment.resources, nodes(), experiment.place("resources"))


def _by_id(trials: Iterable[Trial]) -> dict[str, Trial]:
    return {trial.spec.id: trial for trial in trials}
