"""A stage's trials: its configs x seeds, each with the spec that names it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysl import methods
from raysl.data.settings import TrialData
from raysl.results.stages import Member, StageRecord
from raysl.search.experiment import Config, Experiment, Stage
from raysl.training.spec import TrialSpec


@dataclass(frozen=True)
class Trial:
    """A config x a seed."""

    config_id: str
    params: Mapping[str, Any]
    spec: TrialSpec


def expand(experiment: Experiment, stage: Stage, data: TrialData, starts: Mapping[int, str]) -> tuple[Trial, ...]:
    """Return a stage's trials, config by config in grid order, seed by seed.

    starts: seed -> id of the trial that this seed starts from; empty for a stage that starts from scratch.
    """
    seen = stage_data(stage, data)
    return tuple(
        Trial(config_id(config), config.params, _spec(experiment, config, seen, seed, starts.get(seed)))
        for config in stage.configs
        for seed in experiment.seeds
    )


def stage_data(stage: Stage, data: TrialData) -> TrialData:
    """Return the data of a stage's trials: without the attack on D_l where the method sees no labelled images."""
    streams = methods.describe(stage.configs[0].settings.method["name"]).streams
    return data if "labelled" in streams else data.model_copy(update={"attack": None})


def config_id(config: Config) -> str:
    """Return 8 hex digits that name a config: the same settings have the same id in every experiment."""
    return _digest(config.settings.model_dump(mode="json", exclude={"start_from", "select"}), size=4)


def experiment_digest(experiment: Experiment) -> str:
    """Return 16 hex digits of the hash of all that an experiment says of its numbers; not of its images' content."""
    names = ("data", "model", "probes")
    stages = [
        [stage.name, [config.settings.model_dump(mode="json") for config in stage.configs]]
        for stage in experiment.stages
    ]
    facts = {name: getattr(experiment, name).model_dump(mode="json", exclude_none=True) for name in names}
    return _digest([facts, experiment.seeds, dict(experiment.streams), stages], size=8)


def stage_record(experiment: Experiment, stage: Stage, trials: Sequence[Trial], created_at: float) -> StageRecord:
    """Return the record that says which trials a stage is made of, named by all that it says but the time."""
    facts = [experiment.name, experiment.profile, stage.name, stage.select, [trial.spec.id for trial in trials]]
    return StageRecord(
        experiment=experiment.name,
        profile=experiment.profile,
        stage=stage.name,
        stage_id=_digest(facts, size=6),
        rule=stage.select,
        order=[other.name for other in experiment.stages].index(stage.name),
        data=trials[0].spec.data.model_dump(mode="json"),
        searched=tuple(stage.space),
        members=tuple(Member(t.spec.id, t.config_id, t.spec.seed, dict(t.params)) for t in trials),
        created_at=created_at,
        model=experiment.model.model_dump(mode="json", exclude_none=True),
        variant=experiment.variant,
    )


def _spec(experiment: Experiment, config: Config, data: TrialData, seed: int, start: str | None) -> TrialSpec:
    settings = config.settings
    return TrialSpec(
        data=data,
        model=experiment.model,
        method=settings.method,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        precision=settings.precision,
        start=start,
        freeze=settings.freeze,
        seed=seed,
        streams=dict(experiment.streams),
        probes=experiment.probes,
    )


def _digest(facts: Any, size: int) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
