"""The models of a results folder: which are there, and what they are of."""

from collections.abc import Mapping
from dataclasses import dataclass

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


def list_models(store: Store) -> list[ListedModel]:
    """Return the model files of a results folder, in the order of its stages, their configs and seeds.

    A file is listed once for each current stage that has its trial, else for its latest earlier stage, else once.
    """
    files = model_files(store)
    sizes = {name: stamp.size for name, stamp in store.stamps("models", "").items()}
    stages = read_stages(store)
    current = current_ids(stages)
    selections = read_selections(store)
    rows = read_rows(store, {file.trial_id for file in files})
    places = _places(stages, current)
    found = []
    for file in files:
        for order, stage, member in places.get(file.trial_id, [(len(places), None, None)]):
            chosen = selections.get(stage.stage_id) if stage else None
            selected = chosen is not None and file.trial_id in chosen.trial_ids
            is_current = stage is not None and stage.stage_id in current
            size = sizes.get(file.path.removeprefix("models/"), 0)
            row = rows.get(file.trial_id)
            found.append(
                (order, _listed(file, stage, member, row, selected, is_current, size, store.address(file.path)))
            )
    return [model for _, model in sorted(found, key=lambda one: (one[0], one[1].epoch or 0))]


def _places(
    stages: list[StageRecord], current: set[str]
) -> dict[str, list[tuple[int, StageRecord | None, Member | None]]]:
    """Return the stages in which trials are listed, by trial id, with their order."""
    now: dict[str, list[tuple[int, StageRecord | None, Member | None]]] = {}
    before: dict[str, list[tuple[int, StageRecord | None, Member | None]]] = {}
    order = 0
    for stage in stages:
        for member in stage.members:
            order += 1
            if stage.stage_id in current:
                now.setdefault(member.trial_id, []).append((order, stage, member))
            else:
                before[member.trial_id] = [(order, stage, member)]
    return before | now


def _listed(
    file: ModelFile,
    stage: StageRecord | None,
    member: Member | None,
    row: TrialRow | None,
    selected: bool,
    current: bool,
    size: int,
    path: str,
) -> ListedModel:
    model = spec_of(row.spec).get("model") if row else None
    return ListedModel(
        experiment=stage.experiment if stage else None,
        stage=stage.stage if stage else None,
        stage_id=stage.stage_id if stage else None,
        config_id=member.config_id if member else None,
        params=member.params if member else {},
        seed=row.seed if row else None,
        epoch=file.epoch or (row.epochs if row else None),
        is_milestone=file.epoch is not None,
        method=row.method if row else None,
        backbone=str(model["backbone"]) if isinstance(model, dict) and "backbone" in model else None,
        is_selected=selected,
        is_current=current,
        trial_id=file.trial_id,
        size=size,
        path=path,
    )
