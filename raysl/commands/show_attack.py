"""`raysl show --attack`: draws labelled images with their attacked copies."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raysl.api.dataset_setup import resolve_data
from raysl.api.models import check_version, read_spec, readable
from raysl.commands.pictures import drawn, inspected, numbered, refuse
from raysl.config import load
from raysl.console.progress import preparation
from raysl.console.screen import screen
from raysl.data.augment.attack import attack_of, shown_images
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import load as load_arrays
from raysl.errors import ResultsError, UserError
from raysl.results.records.rows import read_rows
from raysl.results.records.stages import current_ids, read_stages
from raysl.results.storage.store import Store
from raysl.search.trials import stage_data


def show_attack(target: str, output: Path, profile: str | None, overrides: Sequence[str]) -> None:
    """Draw each attack of a results folder's current stages, or the attack of an experiment's YAML."""
    console = screen()
    if Path(target).suffix in (".yaml", ".yml") or os.path.isfile(target):
        attacks = _attacks_of_file(Path(target), profile, overrides, console)
    else:
        refuse({"--profile": profile, "--set": overrides}, "of an experiment's YAML, and this is a results folder")
        attacks = _attacks_of_results(target)
    for data, path in zip(attacks, numbered(output), strict=False):
        _draw_attack(data, path, console)


def _attacks_of_file(file: Path, profile: str | None, overrides: Sequence[str], console: Console) -> list[TrialData]:
    experiment = load(file, profile, overrides)
    if all(stage.data.attack is None for stage in experiment.stages):
        raise UserError(
            f"{file}: data.attack: not given, so nothing is attacked; --set 'data.attack={{name: one_pixel}}' would"
        )
    with preparation(console) as told:
        datas = resolve_data(experiment, told)
    attacked = [data for stage in experiment.stages if (data := stage_data(experiment, stage, datas)).attack]
    if not attacked:
        raise UserError(
            f"{experiment.place('data.attack')}: data.attack: nothing is attacked, for no stage sees labelled images"
        )
    return _distinct(attacked)


def _attacks_of_results(target: str) -> list[TrialData]:
    """Return the data of a folder's current attacked stages, one for each distinct attack and images."""
    store = Store.open(target, create=False)
    stages = read_stages(store)
    current = current_ids(stages)
    found = []
    for stage in stages:
        if stage.stage_id in current and stage.data.get("attack"):
            with readable(store.address(f"stages/{stage.stage_id}.json")):
                found.append(TrialData.model_validate(stage.data))
            for row in list(read_rows(store, [member.trial_id for member in stage.members]).values())[:1]:
                check_version(read_spec(row, store), row, store)
    if not found:
        raise ResultsError(f"{store}: nothing is attacked: no current stage has data.attack")
    return _distinct(found)


def _distinct(attacked: Sequence[TrialData]) -> list[TrialData]:
    found: dict[str, TrialData] = {}
    for data in attacked:
        found.setdefault(data.model_dump_json(exclude={"source", "labels", "draw", "unlabelled"}), data)
    return list(found.values())


def _draw_attack(data: TrialData, path: Path, console: Console) -> None:
    from raysl.console import attack as picture  # importing matplotlib takes seconds

    facts = inspected(data, "attacked", console)
    arrays = load_arrays(data)
    attack = attack_of(data, arrays)
    assert attack is not None, "only attacked data come here"
    title, (images, labels) = picture.title(data), shown_images(data, arrays)
    picture.table(title, facts.class_names, attack, images, labels, console)
    drawn(lambda: picture.draw(title, facts.class_names, attack, images, labels, path), path, console)
