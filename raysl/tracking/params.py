"""Params of runs: everything that decides a trial's numbers, flattened from its spec."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from raysl.results.records.rows import spec_of
from raysl.tracking.values import text

Params = dict[str, Any]
_OF_A_TRIAL = ("seed", "start")  # what differs between the trials of one config
_KEY = re.compile(r"\w[\w.\-/: ]{0,249}")  # names that MLflow takes
_PREFIX = "params."


def searched(record: Mapping[str, Any]) -> Params:
    """Return the searched values of a row of the tables of trials or configs, by dotted key."""
    found = {key.removeprefix(_PREFIX): value for key, value in record.items() if key.startswith(_PREFIX)}
    return {key: value for key, value in found.items() if value is not None}


def trial_params(trial: Mapping[str, Any]) -> Params:
    """Return a trial's settings by dotted key, its seed among them; unset ones are left out."""
    return _flat(trial.get("spec")) | searched(trial) | {"seed": trial["seed"]}


def common(settings: Iterable[Params]) -> Params:
    """Return the settings that have the same value in all; empty if there are none."""
    found: Params | None = None
    for one in settings:
        same = one if found is None else {key: value for key, value in found.items() if one.get(key) == value}
        found = same
    return found or {}


def without_trial(params: Params) -> Params:
    """Return settings without those that differ between the trials of one config."""
    return {key: value for key, value in params.items() if key.partition(".")[0] not in _OF_A_TRIAL}


def settings_text(facts: Mapping[str, Any], settings: Params) -> str:
    """Return what a stage is and its settings, by dotted key, as YAML with secrets masked."""
    return text(yaml.safe_dump({**facts, "settings": settings}, sort_keys=False, allow_unicode=True))


def _flat(spec: str | None) -> Params:
    flat: Params = {}
    left = [("", value) for value in (spec_of(spec),)]
    while left:  # no recursion: the spec of a changed file may be deep
        above, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{above}.{key}" if above else str(key), below) for key, below in reversed(value.items())]
        elif value is not None and _is_key(above):
            flat[above] = value
    return flat


def _is_key(key: str) -> bool:
    return _KEY.fullmatch(key) is not None and ("/" not in key or posixpath.normpath(key) == key)
