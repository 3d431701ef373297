"""An override `key=value`: the path that its key names, and its value."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysl.config.document import ConfigError, Path_, dotted
from raysl.errors import cut, printable, quoted
from raysl.plain_yaml import MOST_DEPTH, PlainYamlError, read_one

EXAMPLE = "an override is written key=value, as in --set data.labels=0.05"
MOST_OF_A_KEY = 1000  # characters
MOST_SHOWN = 120  # characters of an override in the place that messages begin with

# Parts between dots; one that holds a dot itself stands in quotes, as in stages."a.b".epochs.
PART = re.compile(r""""([^"]+)"|'([^']+)'|([^."'=]+)""")
KEY = re.compile(rf"\s*(?:{PART.pattern})(?:\.(?:{PART.pattern}))*\s*")


@dataclass(frozen=True)
class Override:
    """A value that overrides file and profile; `place` is where it was written."""

    path: Path_
    value: Any
    place: str

    def __str__(self) -> str:
        """Return it as text, `key=value`."""
        return f"{dotted(self.path)}={json.dumps(self.value, ensure_ascii=False, default=str)}"


def parse_override(text: str) -> Override:
    """Return the override that a text `key=value` writes.

    Raises ConfigError if the text has another form, or its value is not YAML.
    """
    place = f"--set {cut(printable(cut(text, MOST_OF_A_KEY)), MOST_SHOWN)}"
    key = KEY.match(text)
    if key is None or not text[key.end() :].startswith("="):
        raise ConfigError(f"{place}: {EXAMPLE}")
    path = parse_key(key[0], place)
    try:
        return Override(path, read_one(text[key.end() + 1 :]).value, place)
    except PlainYamlError as error:
        raise ConfigError(f"{place}: {dotted(path)}: {error}") from None


def parse_key(key: str, place: str) -> Path_:
    """Return the path that a dotted key names; place: where it was written, for messages.

    Raises ConfigError if it is no dotted key.
    """
    if len(key) > MOST_OF_A_KEY or KEY.fullmatch(key) is None:
        raise ConfigError(f"{place}: {quoted(key)} is no key; {EXAMPLE}")
    path = tuple("".join(parts).strip() for parts in PART.findall(key.strip()))
    if not all(path):
        raise ConfigError(f"{place}: {quoted(key)} is no key, for a part of it is empty; {EXAMPLE}")
    if len(path) > MOST_DEPTH:
        raise ConfigError(f"{place}: a key of {len(path)} parts; it has at most {MOST_DEPTH}")
    return path


def check_reachable(override: Override, values: Mapping[str, Any]) -> None:
    """Raise ConfigError if an override's key splits a name that has a dot in it."""
    here: Any = values
    for index, part in enumerate(override.path):
        if not isinstance(here, Mapping):
            return
        if part not in here and (whole := _whole(override.path[index:], here)):
            meant = dotted((*override.path[:index], whole, *override.path[index + whole.count(".") + 1 :]))
            raise ConfigError(
                f"{override.place}: {dotted(override.path)}: {whole!r} is one name; in a key a name with a dot stands "
                f"in quotes: --set '{meant}=...'"
            )
        here = here.get(part)


def _whole(path: Path_, known: Mapping[str, Any]) -> str | None:
    """Return the name with dots that a path begins with, if it is known."""
    return next((name for length in range(len(path), 1, -1) if (name := ".".join(path[:length])) in known), None)
