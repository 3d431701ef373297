"""What a stage is made of, and what its selection rule chose: one JSON file each."""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from raysl.results.store import Store, warn_damaged

Rule = Literal["train_loss", "probe_accuracy"]
Value = float | int | str | bool
R = TypeVar("R")


@dataclass(frozen=True)
class Member:
    """A trial's place in a stage.

    params: the values of the searched keys.
    """

    trial_id: str
    config_id: str
    seed: int
    params: dict[str, Value]


@dataclass(frozen=True)
class StageRecord:
    """A stage of an experiment, as it was searched.

    profile: "" where there is none.  order: the stage's place in its experiment, from 0.
    data: the settings of the data.  searched: dotted keys.  members: in the order of the search.
    created_at: unix seconds.
    """

    experiment: str
    profile: str
    stage: str
    stage_id: str
    rule: Rule
    order: int
    data: dict[str, Any]
    searched: tuple[str, ...]
    members: tuple[Member, ...]
    created_at: float


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

    config_id, params: None and empty where no config was eligible.  trial_ids: the chosen config's, by seed.
    ranking: best first.  selected_at: unix seconds.
    """

    stage_id: str
    rule: Rule
    config_id: str | None
    params: dict[str, Value]
    trial_ids: tuple[str, ...]
    reason: str
    ineligible: tuple[Ineligible, ...]
    ranking: tuple[Ranked, ...]
    selected_at: float


_STAGE = TypeAdapter(StageRecord)
_SELECTION = TypeAdapter(SelectionRecord)


def write_stage(store: Store, stage: StageRecord) -> StageRecord:
    """Write `stages/<stage_id>.json`, unless all but `created_at` is there already; return what is."""
    path = f"stages/{stage.stage_id}.json"
    old = _read(store, path, _STAGE)
    if old is not None and replace(old, created_at=stage.created_at) == stage:
        return old
    store.write(path, _STAGE.dump_json(stage, indent=1))
    return stage


def read_stages(store: Store) -> list[StageRecord]:
    """Return all stages in the order of their making; damaged records are left out (logged, with their path)."""
    found = (_read(store, f"stages/{name}", _STAGE) for name in store.list("stages", ".json"))
    stages = [stage for stage in found if stage is not None]
    return sorted(stages, key=lambda stage: (stage.created_at, stage.order, stage.stage_id))


def write_selection(store: Store, selection: SelectionRecord) -> SelectionRecord:
    """Write `selections/<stage_id>.json`, unless all but `selected_at` is there already; return what is."""
    path = f"selections/{selection.stage_id}.json"
    old = _read(store, path, _SELECTION)
    if old is not None and replace(old, selected_at=selection.selected_at) == selection:
        return old
    store.write(path, _SELECTION.dump_json(selection, indent=1))
    return selection


def read_selections(store: Store) -> dict[str, SelectionRecord]:
    """Return all selections by stage id; damaged records are left out (logged, with their path)."""
    found = (_read(store, f"selections/{name}", _SELECTION) for name in store.list("selections", ".json"))
    return {selection.stage_id: selection for selection in found if selection is not None}


def _read(store: Store, path: str, adapter: TypeAdapter[R]) -> R | None:
    try:
        return adapter.validate_json(store.read(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        warn_damaged(store.address(path), f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip())
        return None
