"""Estimates the cost of experiments: counts their trials, and measures steps and criteria of each distinct shape."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raysl.api.step_costs import StepCosts
from raysl.api.target import Target
from raysl.api.trial_times import TrialTimes, step_shape
from raysl.launch.driver.trial_queue import done_rows
from raysl.results.records.rows import read_rows
from raysl.results.storage.store import Store
from raysl.search.adaptive import AdaptiveSearch
from raysl.search.cross_fitted import CrossFittedSearch
from raysl.search.experiment import Experiment, Resources, Stage
from raysl.search.shared_weights import SharedWeights
from raysl.search.stage_starts import selected_starts
from raysl.search.trials import Datas, Trial, config_id, expand
from raysl.training.kept_models import model_exists


@dataclass(frozen=True)
class ShapePlan:
    """The trials of a stage whose steps cost the same.

    done: the number of trials that the results folder holds, or whose weights it holds.
    shared: the number of trials that have the same weights as an earlier one.
    steps: of an epoch.  step_seconds: median of one step.  num_parameters: of the whole method.
    criteria_seconds: to measure the label-free criteria of one trial; 0 if it has none.
    times: of finished trials, which the steps' seconds are from; None if steps were measured on this machine.
    trial_seconds: sum over the trials that are left to train, or to measure.  seconds: of wall time.
    """

    stage: str
    num_trials: int
    done: int
    shared: int
    epochs: int
    steps: int
    num_parameters: int
    step_seconds: float
    criteria_seconds: float
    trial_seconds: float
    seconds: float
    times: TrialTimes | None = None


@dataclass(frozen=True)
class ExperimentPlan:
    """The cost of an experiment, without what earlier ones need too; capacity: the number of trials at once."""

    experiment: Experiment
    datas: Datas
    capacity: int
    shapes: tuple[ShapePlan, ...]

    @property
    def seconds(self) -> float:
        """The wall time, in seconds."""
        return sum(shape.seconds for shape in self.shapes)


class Planner:
    """Adds up the cost of experiments; shared trials are counted once, and each shape is measured once."""

    def __init__(self, uri: str, place: Target, costs: StepCosts) -> None:
        """Plan for a results folder and a target; costs: of the steps of each shape."""
        self.place, self.costs = place, costs
        self.needs: dict[Resources, float] = {}  # the sum of the trials' seconds, by the resources of a trial
        self.trials: set[str] = set()
        self.seen: set[str] = set()  # the weights ids of these trials
        self._store = Store.open(uri, create=False) if "://" in uri or os.path.exists(uri) else None
        self._weights = SharedWeights(self._store)

    def add(self, experiment: Experiment, datas: Datas) -> ExperimentPlan:
        """Return the cost of an experiment, without what earlier ones need too."""
        capacity = self.place.capacity(experiment)
        shapes = [one for stage in experiment.stages for one in self._add_stage(stage, experiment, datas, capacity)]
        return ExperimentPlan(experiment, datas, capacity, tuple(shapes))

    def _add_stage(self, stage: Stage, experiment: Experiment, datas: Datas, capacity: int) -> list[ShapePlan]:
        trials, done, unmeasured = _trials(stage, experiment, datas, self._store)
        names = {trial.spec.id: trial.spec.id for trial in trials}
        if not stage.adaptive:  # the configs to be proposed are not known
            alike = [trial for trial in trials if trial.stop is None]
            done |= {trial.spec.id for trial in alike if self._weights.donor(trial) is not None}
            names |= {trial.spec.id: self._weights.id_of(trial.spec) for trial in alike}
        shared = {trial_id for trial_id, name in names.items() if name in self.seen}
        found = []
        for shape in _shapes(trials):
            planned = self._add_shape(stage, shape, done, unmeasured, shared, experiment, capacity)
            self.needs[experiment.resources] = self.needs.get(experiment.resources, 0.0) + planned.trial_seconds
            found.append(planned)
        self.trials |= names.keys()
        self.seen |= set(names.values())
        return found

    def _add_shape(
        self,
        stage: Stage,
        shape: Sequence[Trial],
        done: set[str],
        unmeasured: set[str],
        shared: set[str],
        experiment: Experiment,
        capacity: int,
    ) -> ShapePlan:
        cost, times = self.costs.of(shape[0], experiment.resources)
        left = [trial for trial in shape if trial.spec.id not in done | shared]
        tasks = len(left) + sum(trial.spec.id in unmeasured - shared for trial in shape)
        needed = sum(trial.spec.epochs for trial in left) * cost.steps * cost.seconds + tasks * cost.criteria_seconds
        needed += len(left) * (times.other_seconds if times else 0.0)
        return ShapePlan(
            stage=stage.name,
            num_trials=len(shape),
            done=sum(trial.spec.id in done - shared for trial in shape),
            shared=sum(trial.spec.id in shared for trial in shape),
            epochs=shape[0].spec.epochs,
            steps=cost.steps,
            num_parameters=cost.num_parameters,
            step_seconds=cost.seconds,
            criteria_seconds=cost.criteria_seconds,
            trial_seconds=needed,
            seconds=needed / min(capacity, max(1, tasks)),
            times=times,
        )


def _shapes(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group trials whose steps cost the same: they differ only in the seed or in numbers of the optimizer."""
    shapes: dict[str, list[Trial]] = {}
    for trial in trials:
        shapes.setdefault(step_shape(trial.spec), []).append(trial)
    return list(shapes.values())


def _trials(
    stage: Stage, experiment: Experiment, datas: Datas, store: Store | None
) -> tuple[Sequence[Trial], set[str], set[str]]:
    """Return a stage's trials, and the ids of those that the results folder holds: all, and those without criteria."""
    starts = selected_starts(experiment, stage, datas, store) if store else {} if stage.start_from is None else None
    if starts is None:  # an earlier stage has no selection yet, so none of these trials is trained
        starts = dict.fromkeys(experiment.seeds, f"{experiment.name}/{stage.start_from}")
        return expected(experiment, stage, datas, starts, None), set(), set()
    trials = expected(experiment, stage, datas, starts, store)
    done = set(done_rows(store, trials)) if store else set()
    unmeasured = _only_to_measure(trials, store) - done if store else set()
    return trials, done | unmeasured, unmeasured


def _only_to_measure(trials: Iterable[Trial], store: Store) -> set[str]:
    """Return the ids of finished trials that may have criteria to be measured, and whose models are there."""
    rows = read_rows(store, {trial.spec.id for trial in trials if trial.criteria})
    return {i for i, row in rows.items() if row.status == "finished" and model_exists(store, i)}


def expected(
    experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str], store: Store | None
) -> list[Trial]:
    """Return a stage's trials; for configs that are not proposed yet, those of a config at an end of the space.

    Of a stage whose selected config alone is trained with all labels, it is one with the most epochs until it is known.
    """
    if stage.folds is not None:
        fitted = CrossFittedSearch(experiment, stage, datas, starts, 0.0)
        fitted.replay(done_rows(store, fitted.every) if store else {})
        last = fitted.best or config_id(max(stage.configs, key=lambda config: config.settings.epochs))
        return [trial for trial in fitted.every if trial.spec.fold is not None or trial.config_id == last]
    if not stage.adaptive:
        return list(expand(experiment, stage, datas, starts))
    search = AdaptiveSearch(experiment, stage, datas, starts, store, 0.0)
    return search.known + search.num_left * list(expand(experiment, stage, datas, starts, stage.extremes[:1]))
