"""File, then profile, then --set: later ones override earlier ones, key by key."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from raysl.config.document import ConfigError, Document, Path_, read_document
from raysl.config.override import Override, check_reachable, parse_override
from raysl.config.plain_dict import NAME, read_dict
from raysl.config.space import is_dimension
from raysl.errors import choices, quoted
from raysl.results.records.origins import FROM_PYTHON, Origin

__all__ = ["Override", "compose", "origin_of"]


def compose(
    source: Path | Mapping[str, Any], profile: str | None = None, overrides: Sequence[str | Override] = ()
) -> Document:
    """Return the values of a file or a dict, with a profile and overrides applied.

    overrides: each a text `key=value` or an `Override`.
    Raises ConfigError for an unknown profile or an override that is not `key=value`.
    """
    document = read_document(source) if isinstance(source, Path) else read_dict(source)
    profiles = document.values.get("profiles") or {}
    values = deepcopy({key: value for key, value in document.values.items() if key != "profiles"})
    places = {path: place for path, place in document.places.items() if path[:1] != ("profiles",)}
    if not isinstance(profiles, dict):
        place = document.place(("profiles",))
        raise ConfigError(f"{place}: profiles: must be a mapping of names, not {quoted(profiles)}")
    if profile is not None:
        name = _profile(profile, profiles, str(source) if isinstance(source, Path) else NAME)
        added = profiles[name] or {}
        if not isinstance(added, dict):
            place = document.place(("profiles", name))
            raise ConfigError(f"{place}: profiles.{name}: not a mapping: {quoted(added)}")
        given = {path[2:]: place for path, place in document.places.items() if path[:2] == ("profiles", name)}
        _merge(values, added, places, given)
    for one in overrides:
        override = parse_override(one) if isinstance(one, str) else one
        check_reachable(override, values)
        path, value = override.path, override.value
        _merge(values, _nest(path, value), places, _override_places(path, value, override.place))
    return Document(values, places, document.text)


def origin_of(
    source: Path | Mapping[str, Any], document: Document, profile: str | None, overrides: Sequence[str | Override]
) -> Origin:
    """Return the record of what `compose` was given, by the document that it returned."""
    file = str(source) if isinstance(source, Path) else FROM_PYTHON
    return Origin(file, profile or "", tuple(map(str, overrides)), {file: document.text})


def _profile(asked: str, profiles: Mapping[str, Any], source: str) -> str:
    """Return a profile's name as the file writes it, perhaps in another form of Unicode."""
    names = {unicodedata.normalize("NFC", name): name for name in profiles}
    name = names.get(unicodedata.normalize("NFC", asked))
    if name is None:
        raise ConfigError(f"--profile {asked}: {source} has no such profile; {choices(asked, profiles)}")
    return name


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
    base: dict[str, Any], added: Mapping[str, Any], places: dict[Path_, str], added_places: Mapping[Path_, str]
) -> None:
    """Merge values and their places into the base's."""
    replaced = set(_merged(base, added, ()))
    lengths = {len(path) for path in replaced}

    def new(path: Path_) -> bool:
        return any(path[:length] in replaced for length in lengths)

    for path in [path for path in places if new(path)]:
        del places[path]
    places |= {path: place for path, place in added_places.items() if new(path)}


def _merged(base: dict[str, Any], added: Mapping[str, Any], path: Path_) -> Iterator[Path_]:
    """Merge values into the base's, key by key; yield the paths of values that are replaced as a whole."""
    for key, value in added.items():
        old = base.get(key)
        is_rule = path[:1] == ("stages",) and len(path) == 2 and key == "select"  # one value, as a grid is
        if isinstance(old, dict) and isinstance(value, Mapping) and not is_rule and _mergeable(old, value):
            yield from _merged(old, value, (*path, key))
        else:
            base[key] = deepcopy(value)
            yield (*path, key)


def _mergeable(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    # A grid or a range is one value, and a mapping with another name keeps no settings of the old one.
    if is_dimension(old) or is_dimension(new):
        return False
    return "name" not in new or new["name"] == old.get("name")
