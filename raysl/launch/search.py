"""Experiments, stage by stage: train what is not trained, select, score, publish."""

import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeVar

from raysl.errors import SearchError
from raysl.launch.growing import Growing
from raysl.launch.lacking import Unscored, lacking
from raysl.launch.leases import Leases
from raysl.launch.options import Options, Outcome
from raysl.launch.place import Place
from raysl.launch.pruning import prune
from raysl.launch.queue import TrialQueue, done_rows, united
from raysl.launch.scoring import Scoring
from raysl.launch.setting_aside import set_aside
from raysl.launch.step import Step, num_todo, searches_of
from raysl.launch.training import Training
from raysl.launch.watcher import Observer
from raysl.launch.work import Work
from raysl.results.rows import TrialRow, read_rows
from raysl.results.stages import SelectionRecord, write_selection, write_stage
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.chain import selected_starts
from raysl.search.code import other_code
from raysl.search.experiment import Experiment, Resources, Stage
from raysl.search.selection import select
from raysl.search.shared_weights import SharedWeights
from raysl.search.summary import publish_store
from raysl.search.trials import Datas, Trial, expand, raced, stage_id, stage_record
from raysl.training.paths import model_path

ADAPTIVE, TABLES = "adaptive", "tables"  # claims: to propose configs, to publish the tables
LOOKS = 0.5, 1.5  # seconds, at random, between two looks at what is waited for
FILLED = 8  # experiments are searched together until their trials fill the cluster so many times over

T = TypeVar("T")
Working = Generator[Work | None, None, T]  # yields work; None where there is none for now, and nothing must be held


class Search:
    """Experiments on one results folder; what several of them need is trained once."""

    def __init__(
        self,
        experiments: Sequence[tuple[Experiment, Datas]],
        leases: Leases,
        options: Options,
        observer: Observer,
        changed: Callable[[Outcome], None],
        ended: Callable[[], None],
    ) -> None:
        """Take what to search.

        leases: on the results folder.  changed: called whenever the folder holds something new.  ended: called when
        nothing is left to do but to leave the cluster, which takes seconds.
        """
        self.experiments, self.leases, self.store = experiments, leases, leases.store
        self.options, self.observer, self.changed, self.ended = options, observer, changed, ended
        self.outcome = Outcome()
        self._stack = ExitStack()
        self.place = Place(options, [experiment for experiment, _ in experiments], observer, self._stack)
        self._adaptive: dict[str, AdaptiveSearch] = {}  # by stage id: what several experiments need is proposed once
        self._proposes = False
        self._growing = Growing(self.store)
        self._seen: set[str] = set()  # other drivers
        self._of_other_code: set[str] = set()  # trials that were told of
        self._weights = SharedWeights(self.store, own_code=options.retrain == "code")
        self._unpruned: dict[str, str] = {}  # trials of finished stages, each with the id of its weights
        self._left = deque(range(len(self.experiments)))  # experiments of which no stage was begun

    def execute(self) -> Outcome:
        """Do all that is not done yet; what a kill at any moment leaves undone, the next call does."""
        with self._stack:
            try:
                works = self._all()
                for work in works:
                    if work is not None:
                        self.place.run(work, works)
            finally:
                self._publish()
                self.ended()
        return self.outcome

    def prune(self) -> None:
        """Drop what finished stages have left; not while another search is on the folder, which may need it."""
        awaited = self._awaited()
        trials = {trial_id for trial_id, weights in self._unpruned.items() if weights not in awaited}
        if prune(self.store, trials, lambda: not self.leases.others()):
            self._unpruned = {trial_id: name for trial_id, name in self._unpruned.items() if trial_id not in trials}

    def _awaited(self) -> set[str]:
        """Return the ids of the weights that first stages of experiments still to come can take."""
        found = set()
        for experiment, datas in (self.experiments[index] for index in self._left):
            for trial in expand(experiment, experiment.stages[0], datas, {}):
                found.add(self._weights.id_of(trial.spec))
        return found

    def _publish(self) -> None:
        self._growing.write()
        with self.leases.turn(TABLES):  # else the last to write may not have read what the other has
            publish_store(self.store)

    def _look_around(self) -> None:
        for driver in self.leases.others():
            if driver.id not in self._seen:
                self._seen.add(driver.id)
                self.observer.other_search(str(driver))

    def _all(self) -> Working[None]:
        self._look_around()
        while self._left:
            group = yield from self._group()
            yield from self._do(list(group.values()))
            for depth in range(1, max(len(self.experiments[index][0].stages) for index in group)):
                steps = []
                for index in group:
                    step = yield from self._open(index, depth)
                    steps += [step] if step is not None else []
                yield from self._do(steps)
        self.changed(self.outcome)  # a last stage may have had nothing to start from

    def _wait(self, what: str) -> Working[None]:
        yield None
        self.observer.waiting(what)
        self.place.check_limits()
        time.sleep(random.uniform(*LOOKS))

    def _group(self) -> Working[dict[int, Step]]:
        """Take experiments to search together, few on a laptop so that each is soon done; return their first stages."""
        group: dict[int, Step] = {}
        waiting = 0.0
        while self._left and waiting < FILLED:
            index = self._left.popleft()
            step = yield from self._open(index, depth=0)
            assert step is not None, "a first stage starts from scratch"
            group[index] = step
            if step.num_todo:
                waiting += step.num_todo / self.place.capacity(self.experiments[index][0])
        return group

    def _open(self, index: int, depth: int) -> Working[Step | None]:
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
        step = yield from self._step(experiment, stage, datas, starts)
        self.outcome.stage_ids[index, stage.name] = step.record.stage_id
        return step

    def _step(self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]) -> Working[Step]:
        if stage.adaptive:
            name = stage_id(experiment, stage, datas, starts)
            if name not in self._adaptive:
                self._adaptive[name] = yield from self._adaptive_search(experiment, stage, datas, starts)
            search = self._adaptive[name]
            proposed = [trial for config in search.trials for trial in config]
            self._look_at_code(proposed)
            rows = done_rows(self.store, proposed)
            return Step(experiment, datas, stage, (), search.record, rows, search)
        expanded = expand(experiment, stage, datas, starts)
        record = stage_record(experiment, stage, datas, starts, time.time(), expanded)
        trials = raced(expanded, record.stage_id)
        self._look_at_code(trials)
        return Step(experiment, datas, stage, trials, record, done_rows(self.store, trials))

    def _look_at_code(self, trials: Sequence[Trial]) -> None:
        """Tell which trials are of other code than what runs, and set them aside if they are to be trained again.

        Raises SearchError where another search is on the folder, which may need what they have made.
        """
        rows = {row.trial_id: row for trial in trials for row in self._weights.donors(trial.spec)[:1]}
        rows |= read_rows(self.store, _by_id(trials))
        found = other_code(self.store, rows.values())
        if self._of_other_code.issuperset(found.trial_ids):
            return
        self._of_other_code |= set(found.trial_ids)
        again = self.options.retrain == "code"
        if again and (others := self.leases.others()):
            raise SearchError(f"--retrain code: another search ({others[0]}) is on this folder; wait for its end")
        self.observer.other_code(found, again)
        if again:
            set_aside(self.store, [trial for trial in trials if trial.spec.id in found.trial_ids])
            self._weights.refresh()

    def _adaptive_search(
        self, experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]
    ) -> Working[AdaptiveSearch]:
        """Return a stage's adaptive search; where configs are left to propose, no other driver proposes any then."""
        search = AdaptiveSearch(experiment, stage, datas, starts, self.store, time.time())
        if self._proposes or search.num_left == 0:
            return search
        while (driver := self.leases.taken().get(ADAPTIVE)) or not self.leases.claim(ADAPTIVE):
            self.place.capacity(experiment)
            who = f"the search of {driver}" if driver else "another search"
            yield from self._wait(f"{who}, which proposes configs in this folder")
        self._proposes = True
        self._stack.callback(self.leases.release, ADAPTIVE)
        return AdaptiveSearch(experiment, stage, datas, starts, self.store, time.time())

    def _do(self, steps: Sequence[Step]) -> Working[None]:
        if not steps:
            return
        self._look_around()
        for step in steps:
            write_stage(self.store, step.record)
        self.changed(self.outcome)
        done = {i: row for step in steps for i, row in step.rows.items()}
        self.observer.stages_started([step.record for step in steps], done, num_todo(steps))
        if num_shared := self._num_shared(steps):
            self.observer.weights_shared(num_shared)
        yield from self._train_steps(steps, done)
        self._growing.write()
        rows = read_rows(self.store, _by_id(trial for step in steps for trial in step.trials))
        yield from self._score([(step, self._select(step, rows)) for step in steps], rows)
        self._unpruned |= {t.spec.id: self._weights.id_of(t.spec) for step in steps for t in step.trials}
        self.prune()
        self._publish()
        self.changed(self.outcome)

    def _num_shared(self, steps: Sequence[Step]) -> int:
        """Return how many trials that steps lack have the weights of another, and so are not trained."""
        seen: set[str] = set()
        count = 0
        for trial in united(trial for step in steps for trial in step.todo):
            name = self._weights.id_of(trial.spec)
            count += trial.stop is None and (name in seen or self._weights.donor(trial) is not None)
            seen.add(name)
        return count

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

    def _train_steps(self, steps: Sequence[Step], rows: Mapping[str, TrialRow]) -> Working[None]:
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
            queue = TrialQueue(
                todo,
                searches,
                rows,
                self.leases,
                proposed=self._proposed,
                found=self._found,
                weights=self._weights,
            )
            yield from self._train(part[0].experiment, queue)

    def _proposed(self, search: AdaptiveSearch) -> None:
        self._growing.has(search.record)
        self.observer.config_proposed(search.record)
        self.changed(self.outcome)

    def _train(self, experiment: Experiment, queue: TrialQueue) -> Working[None]:
        """Train the trials of a queue, with the resources that an experiment has for each."""
        while not queue.is_exhausted:
            if queue.look():
                limit = self._limit(experiment)
                resources = experiment.resources
                yield Training(queue, self.store, resources, limit, self.observer, self._trial_ended)
            elif not queue.is_exhausted:
                yield from self._wait("trials that another search trains")
        self.outcome.trained += len(queue.handed_out.keys() - queue.donors.keys())

    def _limit(self, experiment: Experiment) -> int:
        capacity = self.place.capacity(experiment)
        return min(capacity, self.options.max_concurrent or capacity)

    def _found(self, row: TrialRow) -> None:
        """Take note of a trial that another search has trained."""
        self._look_around()
        self.observer.trial_ended(row)
        self._trial_ended(row)

    def _trial_ended(self, row: TrialRow) -> None:
        if row.status == "failed":
            self.outcome.failed.append(row)
        self.changed(self.outcome)

    def _score(self, chosen: Sequence[tuple[Step, SelectionRecord]], rows: Mapping[str, TrialRow]) -> Working[None]:
        """Score what was selected and keep its test features; needed models that were dropped are trained again."""
        found = lacking(chosen, rows, self.store, score_all=self.options.score == "all")
        if found.lost:
            self._refuse_other_code(trial for _, trials in found.lost.values() for trial in trials)
            self.observer.models_lost(len(united(trial for _, trials in found.lost.values() for trial in trials)))

        def trained(trial: Trial) -> TrialRow | None:
            return rows[trial.spec.id] if found.has_models(trial) else None

        for experiment, trials in found.lost.values():
            queue = TrialQueue(
                united(trials), (), {}, self.leases, found=self._found, done=trained, weights=self._weights
            )
            yield from self._train(experiment, queue)
        if not found.unscored:
            return
        self.observer.scoring_started(len(found.unscored))
        parts: dict[Resources, list[Unscored]] = {}
        for one in found.unscored.values():
            parts.setdefault(one.experiment.resources, []).append(one)
        for resources, part in parts.items():
            scoring = Scoring(part, self.leases, resources, self._limit(part[0].experiment), self.observer)
            while not scoring.is_exhausted:
                if scoring.look():
                    yield scoring
                elif not scoring.is_exhausted:
                    yield from self._wait("scores that another search is about to write")

    def _refuse_other_code(self, trials: Iterable[Trial]) -> None:
        """Raise SearchError where models are gone that this code would make otherwise than the rows say."""
        rows = read_rows(self.store, _by_id(trials))
        found = other_code(self.store, [row for row in rows.values() if row.code is not None])
        if found.trial_ids:
            gone = self.store.address(model_path(found.trial_ids[0]))
            raise SearchError(f"{gone}: gone, and {found}; --retrain code trains them again with new numbers")


def _by_id(trials: Iterable[Trial]) -> dict[str, Trial]:
    return {trial.spec.id: trial for trial in trials}
