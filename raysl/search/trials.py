"""The trials of a stage: configs x seeds, each with the spec that gives its id."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from raysl.data.settings import TrialData
from raysl.results.criteria import CriterionName
from raysl.results.records.stages import Member, StageRecord
from raysl.search.experiment import Config, Experiment, Stage
from raysl.search.stage_settings import StageSettings
from raysl.training.settings import StopSettings
from raysl.training.spec import IDENTITY_VERSION, Fold, TrialSpec, identity_of

Datas = Mapping[str, TrialData]  # the data of each stage, by the stage's name

# Keys that were added to StageSettings later: at its default, such a key is left out of a config's id.
LATER: dict[str, Any] = {
    "start_epoch": None,
    "probe": "linear_svm",
    "data": {},
    "milestones": [],
    "stop": None,
    "steps_per_epoch": None,
    "unlabelled_ratio": 1,
    "ties": "first",
    "criteria": [],
}


@dataclass(frozen=True)
class Trial:
    """A config x a seed.

    milestones: the numbers of epochs after which its model is kept, in addition to the final model.
    stop: the rule of early stopping; None without it.  cohort: the name of the cohort that its losses are compared in.
    needs_probe: whether its stage's search or selection compares a probe's metric.
    criteria: the label-free criteria that are measured of it.
    """

    config_id: str
    params: Mapping[str, Any]
    spec: TrialSpec
    milestones: tuple[int, ...] = ()
    stop: StopSettings | None = None
    cohort: str = ""
    needs_probe: bool = False
    criteria: tuple[CriterionName, ...] = ()


def expand(
    experiment: Experiment,
    stage: Stage,
    datas: Datas,
    starts: Mapping[int, str],
    configs: Sequence[Config] | None = None,
) -> tuple[Trial, ...]:
    """Return the trials of a stage's configs, ordered by config, then by seed.

    starts: seed -> id of the trial that this seed starts from; empty for a stage that starts from scratch.
    configs: of the trials; if None, all that are known before the search.
    """
    seen = stage_data(experiment, stage, datas)
    ends = _start_ends(experiment, stage)
    trial = partial(
        Trial,
        milestones=tuple(sorted(set(stage.settings.milestones))),
        stop=stage.settings.stop,
        needs_probe=bool(stage.compared_metrics),
        criteria=stage.criteria,
    )
    trials: list[Trial] = []
    for config in stage.configs if configs is None else configs:
        name = config_id(config)
        for seed in experiment.seeds:
            spec = _spec(experiment, config, seen, seed, starts.get(seed), ends)
            trials.append(trial(name, config.params, spec))
    return tuple(trials)


def of_folds(trial: Trial, folds: int | None) -> tuple[Trial, ...]:
    """Return the trials of a trial's folds: each is trained without one fold, and measured on it alone.

    folds: how many there are; None if the stage's rule is not cross-fitted, so that there is none.
    """
    if folds is None:
        return ()
    specs = (trial.spec.model_copy(update={"fold": Fold(number=number, of=folds)}) for number in range(folds))
    return tuple(replace(trial, spec=spec, milestones=(), needs_probe=True, criteria=()) for spec in specs)


def every_trial(experiment: Experiment, stage: Stage, datas: Datas, starts: Mapping[int, str]) -> tuple[Trial, ...]:
    """Return all trials that a stage may train, as far as they are known before it: those of `expand`, after folds."""
    whole = expand(experiment, stage, datas, starts)
    return (*(one for trial in whole for one in of_folds(trial, stage.folds)), *whole)


def stage_data(experiment: Experiment, stage: Stage, datas: Datas) -> TrialData:
    """Return the data of a stage's trials, without the attack on D_l if its features are trained without labels."""
    data = datas[stage.name]
    return data if "labelled" in experiment.streams_of(stage) else data.model_copy(update={"attack": None})


def config_id(config: Config) -> str:
    """Return a config's id, 8 hex digits: the same settings have the same id in every experiment."""
    said = _said(config.settings)
    for key in ("start_from", "select", "ties", "criteria", "milestones", "stop", "data"):
        said.pop(key, None)
    return _digest(said, size=4)


def experiment_digest(experiment: Experiment) -> str:
    """Return 16 hex digits of the hash of all settings that decide an experiment's numbers, not of its images."""
    names = ("data", "model", "probes")
    facts = {name: getattr(experiment, name).model_dump(mode="json", exclude_none=True) for name in names}
    stages = [[stage.name, *_searched(stage)] for stage in experiment.stages]
    design = [] if experiment.design is None else [str(experiment.design)]
    return _digest([IDENTITY_VERSION, facts, experiment.seeds, dict(experiment.streams), stages, *design], size=8)


def stage_id(
    experiment: Experiment,
    stage: Stage,
    datas: Datas,
    starts: Mapping[int, str],
    expanded: Sequence[Trial] | None = None,
) -> str:
    """Return a stage's id, 12 hex digits of a hash of all its trials, or of the settings of an adaptive search.

    The trials of a race are those of the whole grid, and those of a grid that may grow are the first ones, so their ids
    have these settings too.

    expanded: all its trials, if it is not adaptive and they are known.
    """
    if stage.adaptive:
        # A larger number of configs continues the same search, so it is not part of the id; a race is, below.
        search = stage.settings.search.model_dump(mode="json", exclude={"num_configs", "extend", "race"})
        first = expand(experiment, stage, datas, starts, stage.extremes[:1])
        trials: list[Any] = [[trial.spec.id for trial in first], _space(stage), search]
    else:
        trials = [t.spec.id for t in (expand(experiment, stage, datas, starts) if expanded is None else expanded)]
    facts: list[Any] = [experiment.name, experiment.profile, stage.name, stage.select, trials]
    if stage.settings.stop is not None:
        facts.append(stage.settings.stop.model_dump(mode="json"))
    if stage.race is not None:
        facts.append({"race": stage.race.model_dump(mode="json")})
    if stage.settings.search.extend:
        facts.append({"extend": True})
    if stage.settings.ties != "first":
        facts.append(stage.settings.ties)
    return _digest(facts, size=6)


def stage_record(
    experiment: Experiment,
    stage: Stage,
    datas: Datas,
    starts: Mapping[int, str],
    created_at: float,
    trials: Sequence[Trial] | None = None,
) -> StageRecord:
    """Return the record of a stage, which lists its trials.

    trials: its trials so far; if None, all that are known before the search.
    """
    trials = expand(experiment, stage, datas, starts) if trials is None else trials
    objectives = stage.objectives
    return StageRecord(
        experiment=experiment.name,
        profile=experiment.profile,
        stage=stage.name,
        stage_id=stage_id(experiment, stage, datas, starts, trials),
        rule=stage.select,
        order=[other.name for other in experiment.stages].index(stage.name),
        data=stage_data(experiment, stage, datas).model_dump(mode="json"),
        searched=tuple(stage.space),
        members=tuple(member(trial, stage.folds) for trial in trials),
        created_at=created_at,
        model=experiment.model.model_dump(mode="json", exclude_none=True),
        variant=experiment.variant_of(stage),
        objectives=objectives if len(objectives) > 1 else (),
        race=experiment.race_of(stage),
        ties=stage.settings.ties,
        design=experiment.design,
    )


def with_cohorts(trials: Iterable[Trial], stage_id: str) -> tuple[Trial, ...]:
    """Return trials in which those with early stopping have the name of their cohort: stage, seed and fold."""
    return tuple(replace(trial, cohort=_cohort(trial.spec, stage_id)) if trial.stop else trial for trial in trials)


def _cohort(spec: TrialSpec, stage_id: str) -> str:
    return f"{stage_id}-{spec.seed}" if spec.fold is None else f"{stage_id}-{spec.seed}-{spec.fold.number}"


def member(trial: Trial, folds: int | None = None) -> Member:
    """Return a trial's entry in the record of its stage, with the trials of its folds."""
    own = tuple(one.spec.id for one in of_folds(trial, folds))
    return Member(trial.spec.id, trial.config_id, trial.spec.seed, dict(trial.params), own)


def _said(settings: StageSettings) -> dict[str, Any]:
    """Return a config's settings without those of the search, and without `LATER` ones at their defaults."""
    said = settings.model_dump(mode="json", exclude={"search"})
    said["method"] = identity_of(said["method"])
    return {key: value for key, value in said.items() if key not in LATER or value != LATER[key]}


def _searched(stage: Stage) -> list[Any]:
    race = [] if stage.race is None else [{"race": stage.race.model_dump(mode="json")}]
    if not stage.adaptive:
        grows = [{"extend": True}] if stage.settings.search.extend else []
        return [[_said(config.settings) for config in stage.configs], *race, *grows]
    search = stage.settings.search.model_dump(mode="json", exclude={"extend", "race"})
    return [_said(stage.settings), _space(stage), search, *race]


def _space(stage: Stage) -> list[list[str]]:
    return [[key, str(dimension)] for key, dimension in stage.space.items()]


def _start_ends(experiment: Experiment, stage: Stage) -> int | None:
    """Return the number of epochs of the stage that this one starts from; None for a stage from scratch."""
    return None if stage.start_from is None else experiment.chain(stage)[-2].settings.epochs


def _spec(
    experiment: Experiment, config: Config, data: TrialData, seed: int, start: str | None, start_ends: int | None
) -> TrialSpec:
    settings, design = config.settings, experiment.design
    varied = {} if design is None else design.streams(seed)
    return TrialSpec(
        data=data,
        model=experiment.model,
        method=settings.method,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        steps_per_epoch=settings.steps_per_epoch,
        unlabelled_ratio=None if settings.unlabelled_ratio == 1 else settings.unlabelled_ratio,
        precision=settings.precision,
        start=start,
        start_epoch=None if settings.start_epoch == start_ends else settings.start_epoch,
        probe=None if settings.probe == "linear_svm" else settings.probe,
        freeze=settings.freeze,
        seed=seed,
        streams={**experiment.streams, **varied},
        probes=experiment.probes.only(
            "linear_svm" if settings.probe == "classifier" or settings.probe == "segmentation" else settings.probe
        ),
    )


def _digest(facts: Any, size: int) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
