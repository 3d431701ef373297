"""What is compared: configs of results folders and stages, given as DIR, DIR:STAGE or DIR:STAGE:CONFIG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysl.errors import ResultsError, UserError, choices
from raysl.reports.searched import MEASURES, how_to_score, own_trials
from raysl.reports.stages import Row, Searched, attack, read_stages, source
from raysl.results.criteria import CRITERION_NAMES
from raysl.results.records.rows import spec_of
from raysl.results.records.seed_design import dependence_text
from raysl.results.storage.store import Store

FROZEN = "frozen"  # the method that trains nothing
FORMS = "DIR, DIR:STAGE or DIR:STAGE:CONFIG"
Task = tuple[str, ...]  # what stages that are compared have in common


@dataclass(frozen=True, eq=False)
class Side:
    """A config of a stage."""

    stage: Searched
    config: Row

    def trials(self) -> dict[int, Row]:
        """Return the config's trials by seed."""
        return {trial["seed"]: trial for trial in own_trials(self.stage, self.config)}


@dataclass(frozen=True, eq=False)
class Contestant:
    """What one argument names.  given: the argument.  has_stage: whether it names a stage."""

    given: str
    has_stage: bool
    sides: tuple[Side, ...]


@dataclass(frozen=True, eq=False)
class ComparedTask:
    """The values of all contestants on the same images.

    sides: one of each contestant.  seeds: those that all were trained with.  values: [contestants, seeds], as shown.
    """

    name: str
    sides: tuple[Side, ...]
    column: str
    seeds: tuple[int, ...]
    values: NDArray[np.float64]


def read_contestant(given: str) -> Contestant:
    """Return what an argument names: the selected configs of its stages, or one config.

    Raises UserError where there is no such folder, stage or config.
    """
    uri, name, config_id = _parts(given)
    every = read_stages([uri])
    stages = every if name is None else [s for s in every if name in (s.stage, s.name, s.stage_id)]
    if not stages:
        raise UserError(f"{given}: no such stage; {choices(name or '', {stage.stage for stage in every})}")
    if config_id is not None:
        known = {config["config_id"] for stage in stages for config in stage.configs}
        if config_id not in known:
            raise UserError(f"{given}: no such config of this stage; {choices(config_id, known)}")
    wanted = [
        Side(stage, config)
        for stage in stages
        for config in stage.configs
        if (config["selected"] if config_id is None else config["config_id"] == config_id)
    ]
    if not wanted:
        raise ResultsError(f"{given}: nothing is selected there yet; the search's command goes on")
    return Contestant(given, name is not None, tuple(wanted))


def _parts(given: str) -> tuple[str, str | None, str | None]:
    """Return folder, stage and config; an address may have colons of its own, so that the longest folder counts."""
    folder, _, last = given.rpartition(":")
    deeper, _, middle = folder.rpartition(":")
    trouble = ""
    for uri, stage, config_id in ((given, None, None), (folder, last, None), (deeper, middle, last)):
        try:
            if uri:
                return Store.open(uri, create=False).uri, stage or None, config_id or None
        except ResultsError as error:
            trouble = trouble or str(error)
    raise UserError(f"{given}: is none of {FORMS}: {trouble}")


def tasks(contestants: Sequence[Contestant], column: str | None) -> list[ComparedTask]:
    """Return what all contestants have results of, in the order of the first one's stages.

    column: of the tables; None is the metric of the test set.
    Raises UserError where they have nothing in common, or not the same labelled images, or lack a value.
    """
    matched = _matched(contestants)
    return [_task(name, [one.given for one in contestants], sides, column) for name, sides in matched]


def _matched(contestants: Sequence[Contestant]) -> Iterator[tuple[str, list[Side]]]:
    if all(len(one.sides) == 1 for one in contestants):
        sides = [one.sides[0] for one in contestants]
        yield ", ".join(_key(sides[0], with_stage=False)), sides
        return
    with_stage = not any(one.has_stage for one in contestants)
    by_task = [_by_task(one, with_stage) for one in contestants]
    shared = [task for task in by_task[0] if all(task in other for other in by_task)]
    if not shared:
        every = "; ".join(
            f"{one.given}: {' / '.join(', '.join(task) for task in own)}"
            for one, own in zip(contestants, by_task, strict=True)
        )
        raise UserError(f"nothing in common to compare: {every}; name a stage of each, as DIR:STAGE")
    for task in shared:
        yield ", ".join(task), [own[task] for own in by_task]


def _by_task(one: Contestant, with_stage: bool) -> dict[Task, Side]:
    found: dict[Task, Side] = {}
    for side in one.sides:
        task = _key(side, with_stage)
        if task in found:
            names = choices("", {other.stage.stage_id for other in one.sides if _key(other, with_stage) == task})
            raise UserError(f"{one.given}: several stages of {', '.join(task)}; name one, as DIR:STAGE; {names}")
        found[task] = side
    return found


def _key(side: Side, with_stage: bool) -> Task:
    stage = side.stage
    attacked = [f"{attack(stage)} attack"] if attack(stage) else []
    backbone = [str(stage.model["backbone"])] if "backbone" in stage.model else []
    own = [stage.stage] if with_stage else []
    return *own, source(stage), f"{stage.data['labels']} labels", *attacked, *backbone


def _task(name: str, given: Sequence[str], sides: Sequence[Side], column: str | None) -> ComparedTask:
    for who, side in zip(given, sides, strict=True):
        if side.stage.design is not None:
            raise UserError(f"{who}: {name}: {dependence_text(str(side.stage.design))}")
    column = column or sides[0].stage.metric.test
    trials = [side.trials() for side in sides]
    seeds = sorted(set.intersection(*(set(one) for one in trials)))
    if not seeds:
        raise UserError(f"{' and '.join(given)}: no seed in common, so nothing can be paired")
    for seed in seeds:
        _check_images(given, sides, [one[seed] for one in trials])
    for who, side, own in zip(given, sides, trials, strict=True):
        if lacking := [seed for seed in seeds if own[seed][column] is None]:
            raise UserError(f"{who}: {name}: seed {lacking[0]} has no {column}{_how_to_measure(column, side)}")
    values = np.array([[MEASURES[column].factor * own[seed][column] for seed in seeds] for own in trials])
    return ComparedTask(name, tuple(sides), column, tuple(seeds), values)


def _how_to_measure(column: str, side: Side) -> str:
    """Return how a column that is missing comes about, with a leading semicolon; empty if nothing gives it."""
    if column.startswith("test_"):
        return f"; {how_to_score(side.stage)}"
    if column not in CRITERION_NAMES:
        return ""
    if side.stage.method == FROZEN:
        return f"; {FROZEN} trains nothing, and its features are those of the stage that it starts from: compare that"
    return (
        f"; `criteria: [{column}]` in the stage {side.stage.stage} and the search's command measure it; trials whose "
        "models are not kept are trained again for it"
    )


def _check_images(given: Sequence[str], sides: Sequence[Side], trials: Sequence[Row]) -> None:
    """Raise UserError where trials of one seed have other labelled training images, or another test set."""
    drawn = [_drawn(side.stage, trial) for side, trial in zip(sides, trials, strict=True)]
    for who, other in zip(given[1:], drawn[1:], strict=True):
        for key, value in other.items():
            if value != drawn[0][key]:
                raise UserError(
                    f"{given[0]} and {who}: not the same labelled training images, so nothing can be paired by seed: "
                    f"{key} is {drawn[0][key]} and {value} (seed {trials[0]['seed']})"
                )


def _drawn(stage: Searched, trial: Row) -> Mapping[str, object]:
    """Return what decides which labelled training images a trial has drawn, and which images test it."""
    spec = spec_of(trial["spec"])
    data = spec.get("data") or stage.data
    streams = spec.get("streams") or {}
    return {
        "the set of images": data.get("digest") or stage.data.get("source"),
        "train_fraction": data.get("train_fraction"),
        "labels": data.get("labels"),
        "draw": data.get("draw"),
        "the seed of the split": streams.get("labels", streams.get("split", trial["seed"])),
    }
