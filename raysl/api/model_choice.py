"""Which model of a results folder is meant: its stage, its config and its seed."""

import math
from collections.abc import Mapping, Sequence

from raysl.errors import ResultsError, UserError, choices
from raysl.results.records.stages import Member, StageRecord, current_ids, read_selections, read_stages
from raysl.results.storage.store import Store

SELECTED = "selected"
SIX_DIGITS = 1e-5  # how far a value may be off that was shown with six digits


def find_stage(store: Store, name: str | None) -> StageRecord:
    """Return a stage by its name or id, or the only current one if None.

    Raises ResultsError, with the choices, if there is none or several.
    """
    stages = read_stages(store)
    current = current_ids(stages)
    found = [one for one in stages if one.stage_id == name or (one.stage_id in current and name in (None, one.stage))]
    if not stages:
        raise ResultsError(f"{store}: no search has been here")
    if not found:
        raise ResultsError(f"{store}: stage {name}: {choices(str(name), {one.stage for one in stages})}")
    if len(found) > 1:
        known = ", ".join(f"{one.stage_id} ({one.experiment}/{one.stage})" for one in found)
        asked = "several stages" if name is None else f"several stages {name}"
        raise ResultsError(f"{store}: {asked}; give the name or the id of one: {known}")
    return found[0]


def find_member(store: Store, record: StageRecord, config: str | Mapping[str, object], seed: int) -> Member:
    """Return a trial of a stage.

    config: `selected`, an id, or searched values: `{"optimizer.lr": 0.1}` or `lr=0.1,epochs=5`.
    Raises UserError, with the choices, if there is no such trial or several configs have these values.
    """
    place = f"{store}: stage {record.stage}"
    if config == SELECTED:
        selection = read_selections(store).get(record.stage_id)
        if selection is None or selection.config_id is None:
            raise ResultsError(f"{place}: {selection.reason if selection else 'nothing is selected yet'}")
        config = selection.config_id
    elif not isinstance(config, str) or "=" in config:
        config = _config_with(record, config if isinstance(config, Mapping) else _values(config, place), place)
    members = [member for member in record.members if member.config_id == config]
    if not members:
        known = {SELECTED, *(member.config_id for member in record.members)}
        raise UserError(f"{place}: config {config}: {choices(str(config), known)}")
    found = next((member for member in members if member.seed == seed), None)
    if found is None:
        raise UserError(f"{place}: seed {seed}: choices: {', '.join(str(member.seed) for member in members)}")
    return found


def _values(text: object, place: str) -> dict[str, object]:
    """Return `lr=0.1,epochs=5` as a mapping."""
    pairs = [part.strip().partition("=") for part in str(text).split(",")]
    if any(not key or not equals for key, equals, _ in pairs):
        raise UserError(f"{place}: config {text}: give an id, or values as in lr=0.1,epochs=5")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _config_with(record: StageRecord, given: Mapping[str, object], place: str) -> str:
    """Return the id of the only config with some searched values."""
    wanted = {_searched_key(record.searched, str(key), place): value for key, value in given.items()}
    configs = {member.config_id: member.params for member in record.members}
    for same in (_equal, _equal_to_six_digits):  # the exact one, if there is one
        found = [name for name, params in configs.items() if all(same(params.get(key), wanted[key]) for key in wanted)]
        if len(found) == 1:
            return found[0]
    text = _text(given)
    known = [f"{name} ({_text(params)})" for name, params in configs.items() if not found or name in found]
    some = "several configs have it" if found else "no config has it"
    raise UserError(f"{place}: config {text}: {some}: {choices(text, known)}")


def _searched_key(searched: Sequence[str], key: str, place: str) -> str:
    found = [one for one in searched if one == key] or [one for one in searched if one.endswith(f".{key}")]
    if len(found) != 1:
        raise UserError(f"{place}: config: {key}: {choices(key, searched)}")
    return found[0]


def _text(values: Mapping[str, object]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())


def _equal(value: object, given: object) -> bool:
    return str(value).lower() == str(given).lower() or _within(value, given, 0.0)


def _equal_to_six_digits(value: object, given: object) -> bool:
    return _within(value, given, SIX_DIGITS)


def _within(value: object, given: object, tolerance: float) -> bool:
    if isinstance(value, bool) or isinstance(given, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isclose(value, float(str(given)), rel_tol=tolerance)
    except ValueError:
        return False
