"""YAML as plain values, each with its line; size, depth and number of values are bounded, and nothing is executed."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raysl.errors import UserError, dotted, quoted

MOST_BYTES = 256 * 1024
MOST_DEPTH = 32
MOST_VALUES = 20_000
MOST_DIGITS = 100

# YAML 1.2's numbers.  PyYAML follows 1.1: it reads 1e-3 as a string, 1:30 as 90 in base 60, and `no` as false.
INT = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")
FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$")
BOOL = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
NULL = re.compile(r"^(~|null|Null|NULL|)$")
MERGE = re.compile(r"^<<$")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # and lone surrogates
CORE = "tag:yaml.org,2002:"
SCALARS = {"null": NULL, "bool": BOOL, "int": INT, "float": FLOAT, "merge": MERGE}  # by tag; anything else is a string
TAGS = ("str", "int", "float", "bool", "null", "seq", "map")

Path_ = tuple[str, ...]


class PlainYamlError(UserError):
    """An error in a YAML text, without the file's name; `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True)
class Plain:
    """A value made of mappings with string keys, lists, strings, numbers, booleans and None.

    lines: the line of each key or item, by its path; the empty path is the whole value.
    """

    value: Any
    lines: Mapping[Path_, int]


def read_file(file: Path) -> str:
    """Return the text of a YAML file.

    Raises OSError if it cannot be read, PlainYamlError if it is a pipe or a device, too long or not UTF-8.
    """
    if os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)):
        raise PlainYamlError(1, "a pipe or a device; write it to a file, which is read more than once")
    with file.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PlainYamlError(1, f"the file is longer than {MOST_BYTES:,} bytes, which is the most that is read")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise PlainYamlError(content[: error.start].count(b"\n") + 1, "not UTF-8 text") from None


def read_one(text: str) -> Plain:
    """Return the value of a YAML text; an empty text has the value None.

    Raises PlainYamlError, with the line, for malformed YAML and for anything beyond the bounds above.
    """
    documents = list(_documents(text, most=1))
    return documents[0] if documents else Plain(None, {(): 1})


def read_all(text: str) -> list[Plain]:
    """Return the value of each document of a YAML text; raises as `read_one` does."""
    return list(_documents(text, most=MOST_VALUES))


def _documents(text: str, most: int) -> Iterator[Plain]:
    if len(text) > MOST_BYTES:
        raise PlainYamlError(1, f"the text is longer than {MOST_BYTES:,} characters, which is the most that is read")
    loader = None
    try:
        loader = _Loader(text)
        builder = _Builder()
        for number in range(most + 1):
            if not loader.check_node():
                return
            node = loader.get_node()
            if number == most:
                raise PlainYamlError(_line(node), "a second document begins; it takes one")
            builder.lines = {(): _line(node)}
            yield Plain(builder.value(node, ()), builder.lines)
    except (PlainYamlError, MemoryError):
        raise
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise PlainYamlError(
            line, f"not valid YAML: the character {chr(int(error.character))!r} cannot stand there"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context).splitlines()[0]
        raise PlainYamlError(mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from None
    except Exception as error:  # PyYAML raises many classes for malformed text
        line = 1 if loader is None else loader.line + 1
        raise PlainYamlError(line, f"not valid YAML: {str(error) or type(error).__name__}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, used up to its nodes, with YAML 1.2's numbers and booleans and with bounds."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own, per first character)

    def __init__(self, text: str) -> None:
        self.depth = self.num_nodes = 0
        super().__init__(text)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = int(self.peek_event().start_mark.line) + 1  # type: ignore[no-untyped-call]
        self.num_nodes += 1
        _check_count(self.num_nodes, line)
        if self.depth > MOST_DEPTH:
            raise PlainYamlError(line, f"nested more than {MOST_DEPTH} deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


for _name, _pattern, _first in (
    ("int", INT, "-+0123456789"),
    ("float", FLOAT, "-+0123456789."),
    ("bool", BOOL, "tTfF"),
    ("null", NULL, ["~", "n", "N", ""]),
    ("merge", MERGE, "<"),
):
    _Loader.add_implicit_resolver(f"{CORE}{_name}", _pattern, list(_first))


@dataclass
class _Builder:
    """Builds plain values from nodes; an alias is expanded, and its values are counted again, at each use."""

    lines: dict[Path_, int] = field(default_factory=dict)
    num_values: int = 0
    open: set[int] = field(default_factory=set)

    def value(self, node: Any, path: Path_) -> Any:
        self.num_values += 1
        _check_count(self.num_values, _line(node))
        if len(path) > MOST_DEPTH:
            raise PlainYamlError(_line(node), f"nested more than {MOST_DEPTH} deep, with what aliases (*) stand for")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        kind = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != f"{CORE}{kind}":
            raise _wrong_tag(node)
        if id(node) in self.open:
            raise PlainYamlError(_line(node), "an alias (*) stands within its own anchor (&)")
        self.open.add(id(node))
        try:
            return self.sequence(node, path) if kind == "seq" else self.mapping(node, path)
        finally:
            self.open.discard(id(node))

    def sequence(self, node: yaml.SequenceNode, path: Path_) -> list[Any]:
        found = []
        for index, item in enumerate(node.value):
            here = (*path, str(index))
            self.lines[here] = _line(item)
            found.append(self.value(item, here))
        return found

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        own: dict[str, Any] = {}
        seen: dict[str, str] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{CORE}merge":
                merged = self.merged(value, path) | merged
        for key, value in node.value:
            if key.tag == f"{CORE}merge":
                continue
            self.num_values += 1
            here = (*path, _key(key, path))
            before = seen.setdefault(unicodedata.normalize("NFC", here[-1]), here[-1])
            if here[-1] in own:
                raise PlainYamlError(_line(key), f"{dotted(here)}: this key is given twice")
            if before != here[-1]:
                raise PlainYamlError(_line(key), f"{dotted(here)}: this key is given twice, in two forms of Unicode")
            self.lines[here] = _line(key)
            own[here[-1]] = self.value(value, here)
        return merged | own

    def merged(self, node: Any, path: Path_) -> dict[str, Any]:
        """Return the mapping that `<<` merges in; of a list of mappings, earlier ones take precedence."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for one in reversed(nodes):
            if not isinstance(one, yaml.MappingNode):
                raise PlainYamlError(_line(one), "<<: takes a mapping, or a list of mappings")
            found |= self.value(one, path)
        return found


def _check_count(count: int, line: int) -> None:
    if count > MOST_VALUES:
        raise PlainYamlError(
            line, f"more than {MOST_VALUES:,} keys and values, an alias (*) counted as what it stands for"
        )


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _key(node: Any, path: Path_) -> str:
    kind = {yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}.get(type(node))
    if kind is None and (not node.value or node.tag == f"{CORE}null"):
        kind = "null" if node.value else "nothing"
    if kind is not None:
        raise PlainYamlError(_line(node), f"{dotted(path) or 'the file'}: a key is a word, and here it is {kind}")
    _scalar(node)
    return str(node.value)


def _scalar(node: yaml.ScalarNode) -> Any:
    """Return a scalar's value.  Raises PlainYamlError if its tag is unknown, or does not fit its text."""
    kind, text = node.tag.removeprefix(CORE), str(node.value)
    if node.tag == f"{CORE}str" or kind == "merge":
        return _text(node)
    if node.tag not in [f"{CORE}{kind}" for kind in SCALARS]:
        raise _wrong_tag(node)
    if not SCALARS[kind].match(text) and not (kind == "float" and INT.match(text)):
        raise PlainYamlError(_line(node), f"not valid YAML: {quoted(text)} is not what its tag !!{kind} says")
    if kind in ("int", "float") and len(text) > MOST_DIGITS:
        raise PlainYamlError(_line(node), f"{quoted(text)}: a number has at most {MOST_DIGITS} digits")
    return VALUES[kind](text.lower())


def _text(node: yaml.ScalarNode) -> str:
    text = str(node.value)
    if control := CONTROL.search(text):
        raise PlainYamlError(_line(node), f"{quoted(text)}: the character {control[0]!r} cannot stand in a text")
    return text


def _float(text: str) -> float:
    return float(text.replace(".", "")) if text.endswith(("inf", "nan")) else float(text)


VALUES: Mapping[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text == "true",
    "int": int,
    "float": _float,
}


def _wrong_tag(node: yaml.Node) -> PlainYamlError:
    tag = node.tag.replace(CORE, "!!", 1)
    known = ", ".join(f"!!{name}" for name in TAGS)
    return PlainYamlError(_line(node), f"not valid YAML: the tag {quoted(tag)[1:-1]} cannot stand there; tags: {known}")
