"""An experiment that is given as a dict in Python, as plain values with their places."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import yaml

from raysl.config.document import ConfigError, Document, Path_
from raysl.errors import quoted
from raysl.plain_yaml import CONTROL, MOST_BYTES, MOST_DEPTH, MOST_DIGITS, MOST_VALUES

NAME = "dict"  # what places begin with, as in dict['data']['labels']


def read_dict(values: Mapping[Any, Any]) -> Document:
    """Return a dict as the document of a YAML file with the same values.

    Tuples become lists, and numpy's numbers Python's.
    Raises ConfigError, with the place, for anything that an experiment's YAML cannot hold: other objects, keys that are
    no words, a key in two forms (1 and "1", or of Unicode), control characters, a dict within itself, and more than the
    bounds of a YAML file.
    """
    reader = _Reader({(): NAME})
    plain = reader.mapping(values, ())
    return Document(plain, reader.places, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def plain_value(value: Any, place: str) -> Any:
    """Return a value as a YAML file would hold it; raises ConfigError as `read_dict` does.

    place: where it was written.
    """
    return _Reader({(): place}).value(value, ())


@dataclass
class _Reader:
    places: dict[Path_, str]
    num_values: int = 0
    num_characters: int = 0

    def value(self, value: Any, path: Path_) -> Any:
        self._count(path)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(str.__str__(value), path)
        if isinstance(value, Integral):
            return self._whole(int(value), path)
        if isinstance(value, Real):
            return float(value)
        if isinstance(value, Mapping):
            return self.mapping(value, path)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [self.value(item, self._below(path, str(index), index)) for index, item in enumerate(value)]
        raise ConfigError(
            f"{self.places[path]}: {quoted(value)} is of the type {type(value).__name__}; an experiment holds "
            "mappings, lists, texts, numbers, True, False and None"
        )

    def mapping(self, values: Mapping[Any, Any], path: Path_) -> dict[str, Any]:
        found: dict[str, Any] = {}
        forms: set[str] = set()
        for key, value in values.items():
            name = self._key(key, path)
            here = self._below(path, name, key)
            form = unicodedata.normalize("NFC", name)
            if form in forms:
                raise ConfigError(f"{self.places[here]}: this key is given twice, in two forms")
            forms.add(form)
            found[name] = self.value(value, here)
        return found

    def _below(self, path: Path_, name: str, key: Any) -> Path_:
        here = (*path, name)
        if len(here) > MOST_DEPTH:
            raise ConfigError(f"{self.places[path]}: nested more than {MOST_DEPTH} deep, or within itself")
        self.places[here] = f"{self.places[path]}[{quoted(key)}]"
        return here

    def _key(self, key: Any, path: Path_) -> str:
        if isinstance(key, Integral) and not isinstance(key, bool):
            key = str(int(key))
        if not isinstance(key, str) or not key:
            raise ConfigError(f"{self.places[path]}: a key is a word, and here it is {quoted(key)}")
        self._count(path)
        return self._text(str.__str__(key), path)

    def _text(self, text: str, path: Path_) -> str:
        self.num_characters += len(text)
        if self.num_characters > MOST_BYTES:
            raise ConfigError(f"{self.places[path]}: more than {MOST_BYTES:,} characters in all texts together")
        if control := CONTROL.search(text):
            raise ConfigError(
                f"{self.places[path]}: {quoted(text)}: the character {control[0]!r} cannot stand in a text"
            )
        return text

    def _whole(self, number: int, path: Path_) -> int:
        if abs(number) >= 10**MOST_DIGITS:
            raise ConfigError(f"{self.places[path]}: a number has at most {MOST_DIGITS} digits")
        return number

    def _count(self, path: Path_) -> None:
        self.num_values += 1
        if self.num_values > MOST_VALUES:
            raise ConfigError(f"{self.places[path]}: more than {MOST_VALUES:,} keys and values")
