"""Experiments, stage by stage: train what is not trained, select, score, publish."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from raysl.launch.driver.options import Outcome
from raysl.launch.driver.pruning import prune
from raysl.launch.driver.session import Session, Working
from raysl.launch.driver.stage_opening import StageOpening
from raysl.launch.driver.stage_run import StageRun, num_todo
from raysl.launch.driver.stage_scoring import score
from raysl.launch.driver.stage_training import StageTraining
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.records.stages import SelectionRecord, write_selection, write_stage
from raysl.search.experiment import Experiment, Stage
from raysl.search.selection import select
from raysl.search.stage_starts import selected_starts
from raysl.search.summary import publish_store
from raysl.search.trials import Datas, expand

TABLES = "tables"  # the claim to publish the tables
FILLED = 8  # experiments are searched together until their trials fill the cluster so many times over


class Search:
    """Experiments on one results folder; what several of them need is trained once."""

    def __init__(
        self,
        experiments: Sequence[tuple[Experiment, Datas]],
        session: Session,
        ended: Callable[[], None],
    ) -> None:
        """Take what to search.

        ended: called when nothing is left to do but to leave the cluster, which takes seconds.
        """
        self.experiments, self.session, self.store = experiments, session, session.store
        self.opening, self.training = StageOpening(self.session), StageTraining(self.session)
        self._ended = ended
        self._unpruned: dict[str, str] = {}  # trials of finished stages, each with the id of its weights
        self._left = deque(range(len(self.experiments)))  # experiments of which no stage was begun
        # Stages that start from scratch and were not begun: the experiment's index, and the stage's.
        self._to_come = {
            (index, depth)
            for index, (experiment, _) in enumerate(self.experiments)
            for depth, stage in enumerate(experiment.stages)
            if stage.start_from is None
        }

    @property
    def outcome(self) -> Outcome:
        """What the search came to so far."""
        return self.session.outcome

    def execute(self) -> Outcome:
        """Do all that is not done yet; what a kill at any moment leaves undone, the next call does."""
        with self.session.stack:
            try:
                works = self._all()
                for work in works:
                    if work is not None:
                        self.session.connection.run(work, works)
            finally:
                self._publish()
                self._ended()
        return self.outcome

    def prune(self) -> None:
        """Drop what finished stages have left; not while another search is on the folder, which may need it."""
        awaited = self._awaited_weights()
        trials = {trial_id for trial_id, weights in self._unpruned.items() if weights not in awaited}
        if prune(self.store, trials, lambda: not self.session.leases.others()):
            self._unpruned = {trial_id: name for trial_id, name in self._unpruned.items() if trial_id not in trials}

    def _awaited_weights(self) -> set[str]:
        """Return the ids of the weights of stages to come that start from scratch."""
        return {
            self.session.weights.id_of(trial.spec)
            for index, depth in self._to_come
            for trial in expand(*self._stage(index, depth), {})
        }

    def _stage(self, index: int, depth: int) -> tuple[Experiment, Stage, Datas]:
        experiment, datas = self.experiments[index]
        return experiment, experiment.stages[depth], datas

    def _publish(self) -> None:
        self.training.throttled_records.write()
        with self.session.leases.turn(TABLES):  # else the last to write may not have read what the other has
            publish_store(self.store)

    def _all(self) -> Working[None]:
        self.session.look_around()
        while self._left:
            group = yield from self._first_stages()
            yield from self._do(list(group.values()))
            for depth in range(1, max(len(self.experiments[index][0].stages) for index in group)):
                steps = []
                for index in group:
                    step = yield from self._open(index, depth)
                    steps += [step] if step is not None else []
                yield from self._do(steps)
        self.session.changed()  # a last stage may have had nothing to start from

    def _first_stages(self) -> Working[dict[int, StageRun]]:
        """Take experiments to search together, few on a laptop so that each is soon done; return their first stages."""
        group: dict[int, StageRun] = {}
        waiting = 0.0
        while self._left and waiting < FILLED:
            index = self._left.popleft()
            step = yield from self._open(index, depth=0)
            assert step is not None, "a first stage starts from scratch"
            group[index] = step
            if step.num_todo:
                waiting += step.num_todo / self.session.connection.capacity(self.experiments[index][0])
        return group

    def _open(self, index: int, depth: int) -> Working[StageRun | None]:
        """Return a stage, ready; None if its experiment has none so deep, or there is no model to start from."""
        experiment, datas = self.experiments[index]
        if depth >= len(experiment.stages):
            return None
        stage = experiment.stages[depth]
        self._to_come.discard((index, depth))
        starts = selected_starts(experiment, stage, datas, self.store)
        if starts is None:
            self.outcome.stage_ids[index, stage.name] = None
            self._note_unselected(experiment, datas, stage)
            return None
        step = yield from self.opening.open(experiment, stage, datas, starts)
        self.outcome.stage_ids[index, stage.name] = step.record.stage_id
        return step

    def _do(self, steps: Sequence[StageRun]) -> Working[None]:
        if not steps:
            return
        self.session.look_around()
        for step in steps:
            write_stage(self.store, step.record)
        self.session.changed()
        done = {i: row for step in steps for i, row in step.rows.items()}
        self.session.observer.stages_started([step.record for step in steps], done, num_todo(steps))
        if num_shared := self.training.num_shared(steps):
            self.session.observer.weights_shared(num_shared)
        yield from self.training.train(steps, done)
        rows = read_rows(self.store, [trial.spec.id for step in steps for trial in step.trials])
        yield from score(self.session, [(step, self._select(step, rows)) for step in steps], rows)
        self._unpruned |= {t.spec.id: self.session.weights.id_of(t.spec) for step in steps for t in step.trials}
        self.prune()
        self._publish()
        self.session.changed()

    def _select(self, step: StageRun, rows: Mapping[str, TrialRow]) -> SelectionRecord:
        selection = select(step.record, rows, selected_at=time.time())
        write_selection(self.store, selection)
        if selection.config_id is None:
            self._note_unselected(step.experiment, step.datas, step.stage)
        self.session.observer.stage_selected(step.record, selection)
        return selection

    def _note_unselected(self, experiment: Experiment, datas: Datas, stage: Stage) -> None:
        data = datas[stage.name]
        variant = experiment.variant_of(stage)
        more = f", {variant}" if variant else ""
        attacked = ", attacked" if data.attack else ""
        long = f"{experiment.name}/{stage.name} of {data.source}, {experiment.model.backbone}{attacked}{more}"
        self.outcome.unselected.append(long if len(self.experiments) > 1 else stage.name)
