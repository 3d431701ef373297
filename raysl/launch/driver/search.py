"""Searches experiments stage by stage: trains missing trials, selects, scores and publishes."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from raysl.launch.driver.artifact_cleanup import prune
from raysl.launch.driver.options import Outcome
from raysl.launch.driver.session import Session, Working
from raysl.launch.driver.stage_opening import StageOpening
from raysl.launch.driver.stage_run import StageRun, num_todo
from raysl.launch.driver.stage_scoring import score
from raysl.launch.driver.stage_training import StageTraining
from raysl.results.attack_text import attacked_text
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.records.stages import SelectionRecord, write_selection, write_stage
from raysl.search.experiment import Experiment, Stage
from raysl.search.selection import select
from raysl.search.stage_starts import selected_starts
from raysl.search.summary import publish_store
from raysl.search.trials import Datas, Trial, every_trial

TABLES = "tables"  # the claim to publish the tables
FILLED = 8  # experiments are searched together until their trials fill the cluster this many times


class Search:
    """A search of experiments on one results folder; trials that several experiments share are trained once."""

    def __init__(
        self,
        experiments: Sequence[tuple[Experiment, Datas]],
        session: Session,
        ended: Callable[[], None],
    ) -> None:
        """Search experiments.

        ended: called before the cluster is left, which takes seconds.
        """
        self.experiments, self.session, self.store = experiments, session, session.store
        self.opening, self.training = StageOpening(self.session), StageTraining(self.session)
        self._ended = ended
        self._unpruned: dict[str, Trial] = {}  # trials of finished stages, by id
        self._left = deque(range(len(self.experiments)))  # indices of experiments of which no stage has begun
        # Stages that start from scratch and have not begun: the experiment's index, and the stage's.
        self._to_come = {
            (index, depth)
            for index, (experiment, _) in enumerate(self.experiments)
            for depth, stage in enumerate(experiment.stages)
            if stage.start_from is None
        }
        self._weights_ids: dict[tuple[int, int], set[str]] = {}  # of the trials of these stages

    @property
    def outcome(self) -> Outcome:
        """The outcome of the search so far."""
        return self.session.outcome

    def execute(self) -> Outcome:
        """Do everything that is not done yet; after a kill at any moment, the next call continues."""
        with self.session.stack:
            try:
                works = self._all()
                for work in works:
                    if work is not None:
                        self.session.connection.run(work, works)
            finally:
                try:
                    self._publish()
                finally:
                    self._ended()
        return self.outcome

    def prune(self) -> None:
        """Drop files of finished stages that are no longer needed, unless another search uses the folder."""
        awaited = self._awaited_weights()
        weights = self.session.weights
        needless = {i for i, t in self._unpruned.items() if not awaited or weights.id_of(t.spec) not in awaited}
        if prune(self.store, needless, lambda: not self.session.leases.others()):
            self._unpruned = {i: trial for i, trial in self._unpruned.items() if i not in needless}

    def _awaited_weights(self) -> set[str]:
        """Return the weights ids of the trials of later stages that start from scratch."""
        found: set[str] = set()
        for index, depth in self._to_come:
            if (index, depth) not in self._weights_ids:
                experiment, datas = self.experiments[index]
                trials = every_trial(experiment, experiment.stages[depth], datas, {})
                self._weights_ids[index, depth] = {self.session.weights.id_of(trial.spec) for trial in trials}
            found |= self._weights_ids[index, depth]
        return found

    def _publish(self) -> None:
        self.training.throttled_records.write()
        with self.session.leases.turn(TABLES):  # else the last writer may miss what another search has written
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
        self.session.changed()  # the last stage may have had no model to start from

    def _first_stages(self) -> Working[dict[int, StageRun]]:
        """Return the first stages of the next experiments, by index: few on a laptop, so that each ends soon."""
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
        """Return an opened stage; None if the experiment has fewer stages, or there is no model to start from."""
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
        self._unpruned |= {trial.spec.id: trial for step in steps for trial in step.trials}
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
        attacked = attacked_text(data.model_dump())
        long = f"{experiment.name}/{stage.name} of {data.source}, {experiment.model.backbone}{attacked}{more}"
        self.outcome.unselected.append(long if len(self.experiments) > 1 else stage.name)
