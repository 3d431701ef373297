"""The models of a results folder: which are there, and what they are of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from raysl.results.records.rows import TrialRow, read_rows, spec_of
from raysl.results.records.stages import Member, StageRecord, current_ids, read_selections, read_stages
from raysl.results.storage.store import Store
from raysl.training.kept_models import ModelFile, model_files


@dataclass(frozen=True)
class ListedModel:
    """A model file, as a trial of a stage.

    experiment, stage, stage_id, config_id: None if no stage has the trial, as after `raysl train`.
    params: the values of the stage's searched keys.  seed, method, backbone: None if the trial's row is missing.
    epoch: the number of epochs it was trained.  is_milestone: whether the training went on.
    is_selected: whether the stage has selected its config.  is_current: whether no later search replaced the stage.
    size: bytes.  path: the file's address.
    """

    experiment: str | None
    stage: str | None
    stage_id: str | None
    config_id: str | None
    params: Mapping[str, object]
    seed: int | None
    epoch: int | None
    is_milestone: bool
    method: str | None
    backbone: str | None
    is_selected: bool
    is_current: bool
    trial_id: str
    size: int
    path: str


class _Place(NamedTuple):
    """Where a trial is listed; number: its place among the trials of all stages."""

    number: float
    stage: StageRecord | None
    member: Member | None
    is_current: bool


NOWHERE = _Place(math.inf, None, None, False)


def list_models(store: Store) -> list[ListedModel]:
    """Return the model files of a results folder, in the order of its stages, their configs and seeds.

    A file is listed once for each current stage that has its trial, else for its latest earlier stage, else once.
    Models that are trained without a fold of the labelled images are not listed: the end of their stage drops them.
    """
    files = model_files(store)
    sizes = {f"models/{name}": stamp.size for name, stamp in store.stamps("models", "").items()}
    places, rows = _places(read_stages(store)), read_rows(store, {file.trial_id for file in files})
    selected = {(record.stage_id, i) for record in read_selections(store).values() for i in record.trial_ids}
    found = [
        (place.number, math.inf if file.epoch is None else file.epoch, _listed(file, place, rows.get(file.trial_id)))
        for file in files
        if file.trial_id not in rows or not spec_of(rows[file.trial_id].spec).get("fold")
        for place in places.get(file.trial_id, [NOWHERE])
    ]
    return [
        replace(
            model,
            is_selected=(model.stage_id, model.trial_id) in selected,
            size=sizes.get(model.path, 0),
            path=store.address(model.path),
        )
        for _, _, model in sorted(found, key=lambda one: one[:2])
    ]


def _places(stages: list[StageRecord]) -> dict[str, list[_Place]]:
    """Return where trials are listed, by their ids."""
    current = current_ids(stages)
    now: dict[str, list[_Place]] = {}
    before: dict[str, list[_Place]] = {}
    members = ((stage, member) for stage in stages for member in stage.members)
    for number, (stage, member) in enumerate(members):
        place = _Place(number, stage, member, stage.stage_id in current)
        if place.is_current:
            now.setdefault(member.trial_id, []).append(place)
        else:
            before[member.trial_id] = [place]
    return before | now


def _listed(file: ModelFile, place: _Place, row: TrialRow | None) -> ListedModel:
    """Return a model file at a place, with its path in the folder, as not selected and without its size."""
    stage, member = place.stage, place.member
    model = spec_of(row.spec).get("model") if row else None
    return ListedModel(
        experiment=stage.experiment if stage else None,
        stage=stage.stage if stage else None,
        stage_id=stage.stage_id if stage else None,
        config_id=member.config_id if member else None,
        params=member.params if member else {},
        seed=row.seed if row else None,
        epoch=(row.epochs if row else None) if file.epoch is None else file.epoch,
        is_milestone=file.epoch is not None,
        method=row.method if row else None,
        backbone=str(model["backbone"]) if isinstance(model, dict) and "backbone" in model else None,
        is_selected=False,
        is_current=place.is_current,
        trial_id=file.trial_id,
        size=0,
        path=file.path,
    )
