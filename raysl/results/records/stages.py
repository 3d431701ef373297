"""The record of a stage, and that of its selection: one JSON file each."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, TypeAdapter

from raysl.results.criteria import CriterionName, VoteName
from raysl.results.cross_fit import CrossFitName
from raysl.results.metrics import ProbeRule
from raysl.results.records.json_records import read_record, write_record
from raysl.results.records.record_cache import RecordType, read_all
from raysl.results.records.seed_design import SeedDesign
from raysl.results.storage.store import Store

Rule = Literal["train_loss", ProbeRule, CriterionName]
AnyRule = Rule | VoteName | CrossFitName
Ties = Literal["first", "cheapest"]
Value = float | int | str | bool
LARGEST = 2**63  # of whole numbers in a table
LATEST = 1e11  # unix seconds: the tables cannot hold later times


@dataclass(frozen=True)
class Member:
    """A trial's place in a stage.

    params: the values of the searched keys.
    folds: ids of the trials that are each trained without one fold of the labelled images; none unless the stage's rule
        is cross-fitted.
    """

    trial_id: str
    config_id: str
    seed: int
    params: dict[str, Value]
    folds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Race:
    """How a stage's configs are raced.

    error: the highest probability with which the truly best config may be dropped.
    first: the number of seeds that every config gets.
    seeds: all of the experiment, in the order in which they are added.
    num_configs: that are proposed one by one, at most; None if all are known before the race.
    """

    error: float
    first: int
    seeds: tuple[int, ...]
    num_configs: int | None = None


@dataclass(frozen=True)
class StageRecord:
    """A stage of an experiment, as it was searched.

    profile: "" if there is none.  order: the stage's place in its experiment, from 0.
    data: the settings of the data.  searched: dotted keys.  members: in the order of the search.
    created_at: unix seconds; of its first search, or of the last search that made it current again.
    model: the settings of the model; empty in records of a version that did not write them.
    variant: distinguishes the stage from similar ones of the same command, as in the rows of a paper's table.
    objectives: those of the search, if it has more than one (`search.rules.OBJECTIVES`).
    race: None unless its configs are raced; members are then the trials that it has asked for so far.
    ties: the config that is taken of those that cannot be told apart: the `first` of the best value, or the `cheapest`.
    design: of typed seeds; None if the seeds are independent.
    """

    experiment: str
    profile: str
    stage: str
    stage_id: str
    rule: AnyRule
    order: int
    data: dict[str, Any]
    searched: tuple[str, ...]
    members: tuple[Member, ...]
    created_at: float
    model: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    objectives: tuple[str, ...] = ()
    race: Race | None = None
    ties: Ties = "first"
    design: SeedDesign | None = None


@dataclass(frozen=True)
class Ineligible:
    """A config that no rule may choose, and why."""

    config_id: str
    reason: str


@dataclass(frozen=True)
class Ranked:
    """An eligible config, and the value that the rule compares."""

    config_id: str
    value: float


@dataclass(frozen=True)
class SelectionRecord:
    """What a stage's selection rule chose, and why.

    config_id, params: None and empty if no config was eligible.  trial_ids: the chosen config's, by seed.
    ranking: best first.  selected_at: unix seconds.
    """

    stage_id: str
    rule: AnyRule
    config_id: str | None
    params: dict[str, Value]
    trial_ids: tuple[str, ...]
    reason: str
    ineligible: tuple[Ineligible, ...]
    ranking: tuple[Ranked, ...]
    selected_at: float


def _coherent(stage: StageRecord) -> StageRecord:
    """Return a stage; raises ValueError if the tables cannot hold it."""
    if not isinstance(stage.data.get("source", ""), str):
        raise ValueError("data.source is no text")
    if not isinstance(stage.data.get("attack") or {}, dict):
        raise ValueError("data.attack is no mapping")
    if not math.isfinite(stage.created_at):
        raise ValueError("created_at is no time")
    for member in stage.members:
        numbers = [value for value in member.params.values() if isinstance(value, int)]
        if any(not -LARGEST <= number < LARGEST for number in (member.seed, *numbers)):
            raise ValueError(f"trial {member.trial_id} has a number that no table holds")
    return stage


def trial_ids(stages: Iterable[StageRecord]) -> set[str]:
    """Return the ids of all trials of stages, those of folds included."""
    return {trial_id for stage in stages for one in stage.members for trial_id in (one.trial_id, *one.folds)}


def _timed(selection: SelectionRecord) -> SelectionRecord:
    if not 0 <= selection.selected_at < LATEST:
        raise ValueError(f"selected_at {selection.selected_at!r}")
    return selection


_STAGE = TypeAdapter(Annotated[StageRecord, AfterValidator(_coherent)])
_SELECTION = TypeAdapter(Annotated[SelectionRecord, AfterValidator(_timed)])


def _stage_of(store: Store, name: str) -> StageRecord | None:
    return read_record(store, f"stages/{name}.json", _STAGE)


def _selection_of(store: Store, name: str) -> SelectionRecord | None:
    return read_record(store, f"selections/{name}.json", _SELECTION)


_STAGES = RecordType("stages", ".json", _stage_of)
_SELECTIONS = RecordType("selections", ".json", _selection_of)


def write_stage(store: Store, stage: StageRecord) -> StageRecord:
    """Write `stages/<stage_id>.json`, which makes the stage current; return the record that is there then.

    A stage that is current already and differs in its members alone keeps its `created_at`: a continued search has more
    configs, and stays at its place among other searches.  So does one whose race has more configs.
    """
    stages = read_stages(store)
    old = next((other for other in stages if other.stage_id == stage.stage_id), None)
    if old is not None and old.stage_id in current_ids(stages):
        if replace(old, created_at=stage.created_at, members=stage.members, race=stage.race) == stage:
            stage = replace(stage, created_at=old.created_at)
        if stage == old:
            return old
    write_record(store, f"stages/{stage.stage_id}.json", _STAGE, stage)
    return stage


def read_stages(store: Store) -> list[StageRecord]:
    """Return all stages; damaged records are left out (logged, with their path).

    Searches are in the order in which they began, the stages of each in the experiment's order, then by `created_at`.
    """
    stages = sorted(read_all(store, _STAGES).values(), key=_made)
    begun: dict[tuple[str, ...], int] = {}
    for stage in stages:
        begun.setdefault(_search(stage), len(begun))
    return sorted(stages, key=lambda stage: (begun[_search(stage)], stage.order, *_made(stage)))


def current_ids(stages: Iterable[StageRecord]) -> set[str]:
    """Return the ids of current stages: the newest of each name, experiment, profile, data and model settings.

    A stage without model settings, of an earlier version, counts as one of any model.
    """
    last = {(*_search(stage), stage.stage): stage for stage in sorted(stages, key=_made)}
    newest = {_whatever_model(stage): stage for stage in sorted(last.values(), key=_made)}
    return {s.stage_id for s in last.values() if s.model or newest[_whatever_model(s)] is s}


def data_text(stage: StageRecord) -> str:
    """Return JSON of a stage's data settings; without the digest, which is no setting, and without unset ones."""
    given = {key: value for key, value in stage.data.items() if key != "digest" and value is not None}
    return json.dumps(given, sort_keys=True)


def model_text(stage: StageRecord) -> str:
    """Return JSON of a stage's model settings; of start weights without the source, for the digest says which."""
    given = dict(stage.model)
    if isinstance(weights := given.get("weights"), dict) and weights.get("digest"):
        given["weights"] = {key: value for key, value in weights.items() if key != "source"}
    return json.dumps(given, sort_keys=True)


def _search(stage: StageRecord) -> tuple[str, ...]:
    return stage.experiment, stage.profile, data_text(stage), model_text(stage), stage.variant


def _whatever_model(stage: StageRecord) -> tuple[str, ...]:
    return stage.experiment, stage.profile, data_text(stage), stage.variant, stage.stage


def _made(stage: StageRecord) -> tuple[float, str]:
    return stage.created_at, stage.stage_id


def write_selection(store: Store, selection: SelectionRecord) -> SelectionRecord:
    """Write `selections/<stage_id>.json`, unless only `selected_at` would change; return the record that is there."""
    path = f"selections/{selection.stage_id}.json"
    old = read_record(store, path, _SELECTION)
    if old is not None and replace(old, selected_at=selection.selected_at) == selection:
        return old
    write_record(store, path, _SELECTION, selection)
    return selection


def read_selections(store: Store) -> dict[str, SelectionRecord]:
    """Return all selections by stage id; damaged records are left out (logged, with their path)."""
    return {selection.stage_id: selection for selection in read_all(store, _SELECTIONS).values()}
