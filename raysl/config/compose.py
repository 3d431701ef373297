"""File, then profile, then --set: later ones override earlier ones, key by key."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raysl.config.document import ConfigError, Document, Path_, dotted, parse, read_document
from raysl.config.space import is_dimension
from raysl.errors import choices


@dataclass(frozen=True)
class Override:
    """A value that stands over file and profile; place: where it was written."""

    path: Path_
    value: Any
    place: str


def compose(file: Path, profile: str | None = None, overrides: Sequence[str | Override] = ()) -> Document:
    """Return a file's experiment with a profile and overrides, as text `key=value` or as they are, applied.

    Raises ConfigError for an unknown profile or an override that is not `key=value`.
    """
    document = read_document(file)
    values, places = deepcopy(document.values), dict(document.places)
    profiles = values.pop("profiles", None) or {}
    if not isinstance(profiles, dict):
        raise ConfigError(f"{document.place(('profiles',))}: profiles: must be a mapping of names, not {profiles!r}")
    if profile is not None:
        profiles = {str(name): added for name, added in profiles.items()}
        if profile not in profiles:
            raise ConfigError(f"--profile {profile}: {file} has no such profile; {choices(profile, profiles)}")
        added = profiles[profile] or {}
        if not isinstance(added, dict):
            raise ConfigError(f"{document.place(('profiles', profile))}: profiles.{profile}: not a mapping: {added!r}")
        _merge(
            values,
            added,
            places,
            (),
            {path[2:]: place for path, place in document.places.items() if path[:2] == ("profiles", profile)},
        )
    for given in overrides:
        override = _parse_override(given) if isinstance(given, str) else given
        path, value = override.path, override.value
        _merge(values, _nest(path, value), places, (), _override_places(path, value, override.place))
    return Document(values, places)


def _parse_override(override: str) -> Override:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {override}: an override is written key=value, as in --set data.labels=0.05")
    try:
        return Override(path, parse(text), f"--set {override}")
    except yaml.YAMLError:
        raise ConfigError(f"--set {override}: {dotted(path)}: {text!r} is not a YAML value") from None


def _nest(path: Path_, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _override_places(path: Path_, value: Any, place: str) -> dict[Path_, str]:
    places = {path[:length]: place for length in range(1, len(path) + 1)}
    if isinstance(value, Mapping):
        for key, below in value.items():
            places |= _override_places((*path, str(key)), below, place)
    return places


def _merge(
    base: dict[str, Any],
    added: Mapping[str, Any],
    places: dict[Path_, str],
    path: Path_,
    added_places: Mapping[Path_, str],
) -> None:
    for key, value in added.items():
        here = (*path, str(key))
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping) and _mergeable(old, value):
            _merge(old, value, places, here, added_places)
            continue
        base[key] = deepcopy(value)
        for known in [known for known in places if known[: len(here)] == here]:
            del places[known]
        places |= {known: place for known, place in added_places.items() if known[: len(here)] == here}


def _mergeable(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    # A grid or a range is one value, and what is given another name keeps nothing of the old one's settings.
    if is_dimension(old) or is_dimension(new):
        return False
    return "name" not in new or new["name"] == old.get("name")
