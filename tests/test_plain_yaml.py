"""YAML as plain values: what is read, what is refused with its line, and that nothing can grow beyond its bound."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysl.plain_yaml import MOST_BYTES, MOST_DEPTH, MOST_VALUES, PlainYamlError, read_all, read_file, read_one

READ: dict[str, Any] = {
    "a: [1, -2, +3, 010, 0]": [1, -2, 3, 10.0, 0],
    "a: [1.5, .5, 1e-3, 1E3, -.inf]": [1.5, 0.5, 1e-3, 1e3, -math.inf],
    "a: [true, False, yes, no, on]": [True, False, "yes", "no", "on"],
    "a: [~, null, Null]": [None, None, None],
    "a: [2026-01-01, 2026-13-45, 1:30, 0x10, 1_000]": ["2026-01-01", "2026-13-45", "1:30", "0x10", "1_000"],
    "a: [!!str 3, !!float 3, !!int '3', !!bool true, =, '<<']": ["3", 3.0, 3, True, "=", "<<"],
    "a: {1: x, 2.5: y, .nan: z, true: w}": {"1": "x", "2.5": "y", ".nan": "z", "true": "w"},
    "b: &b [1]\na: [*b, *b]": [[1], [1]],
    "b: &b {x: 1, y: 2}\na: {y: 3, <<: *b}": {"x": 1, "y": 3},
    "b: [&b {x: 1}, &c {x: 2, y: 2}]\na: {<<: [*b, *c]}": {"x": 1, "y": 2},
    "a: |\n  one\n  two\n": "one\ntwo\n",
    "a:": None,
}


@pytest.mark.parametrize("text", READ)
def test_values_are_yaml_1_2_s(text: str) -> None:
    assert read_one(text).value["a"] == READ[text]


@pytest.mark.parametrize(
    "text",
    ["a: {b: [1, x, {c: ~}], 'd e': \"f\"}", "- 1\n- [2]\n- {a: b}", "{}", "", "a: &x {b: 1}\nc: {<<: *x, d: 2}"],
)
def test_plain_texts_are_what_pyyaml_makes_of_them(text: str) -> None:
    assert read_one(text).value == yaml.safe_load(text)


def test_each_key_and_item_has_its_line() -> None:
    plain = read_one("a:\n  - 1\n  - b: 2\nbase: &x\n  y: 1\nc: *x\n")
    expected = {(): 1, ("a",): 1, ("a", "0"): 2, ("a", "1"): 3, ("a", "1", "b"): 3, ("base",): 4, ("base", "y"): 5}
    assert plain.lines == expected | {("c",): 6, ("c", "y"): 5}


def test_several_documents() -> None:
    assert [plain.value for plain in read_all("a: 1\n---\n- 2\n")] == [{"a": 1}, [2]]
    with pytest.raises(PlainYamlError, match="a second document begins") as caught:
        read_one("a: 1\n---\n- 2\n")
    assert caught.value.line == 3


def bomb(levels: int, of: str = "[{}]") -> str:
    """Eight lines that stand for 9 ** 8 values."""
    lines = ["a0: &a0 " + of.format(", ".join("x" * 9))]
    return "\n".join([*lines, *(f"a{n}: &a{n} " + of.format(", ".join([f"*a{n - 1}"] * 9)) for n in range(1, levels))])


# Each: a text, the line, and what the message must hold.
REFUSED = {
    "eight lines of aliases": (bomb(8), 1, f"more than {MOST_VALUES:,} keys and values"),
    "aliases in keys of mappings": (
        "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}" for n in range(1, 25))]),
        None,
        f"more than {MOST_VALUES:,} keys and values",
    ),
    "merged aliases": (
        "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 25))]),
        None,
        f"more than {MOST_VALUES:,} keys and values",
    ),
    "many values": ("a: [" + "1," * MOST_VALUES + "]", 1, f"more than {MOST_VALUES:,} keys and values"),
    "brackets": ("x: 1\na: " + "[" * 3000, 2, f"nested more than {MOST_DEPTH} deep"),
    "closed brackets": ("[" * 3000 + "]" * 3000, 1, f"nested more than {MOST_DEPTH} deep"),
    "dashes": ("- " * 3000, 1, f"nested more than {MOST_DEPTH} deep"),
    "question marks": ("? " * 3000, 1, f"nested more than {MOST_DEPTH} deep"),
    "depth by aliases": (
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 50))]),
        None,
        f"nested more than {MOST_DEPTH} deep",
    ),
    "an alias within itself": ("a: 1\nb: &b [*b]", 2, "within its own anchor"),
    "a merge of itself": ("a: &a {<<: *a}", 1, "within its own anchor"),
    "no such alias": ("a: *b", 1, "undefined alias"),
    "a long text": ("#" + "x" * MOST_BYTES, 1, f"longer than {MOST_BYTES:,}"),
    "5,000 digits": ("a: " + "1" * 5000, 1, "at most 100 digits"),
    "5,000 digits of a fraction": ("a: 0." + "1" * 5000, 1, "at most 100 digits"),
    "5,000 digits of a version": ("%YAML " + "1" * 5000 + "\n--- a", 1, "not valid YAML"),
    "no integer": ("a:\n  - !!int x", 2, "'x' is not what its tag !!int says"),
    "no float": ("a: !!float x", 1, "'x' is not what its tag !!float says"),
    "no truth value": ("a: !!bool 3", 1, "'3' is not what its tag !!bool says"),
    "no null": ("a: !!null 3", 1, "'3' is not what its tag !!null says"),
    "a time": ("a: !!timestamp x", 1, "the tag !!timestamp cannot stand there; tags: !!str, "),
    "bad base 64": ("a: !!binary x", 1, "!!binary"),
    "a set": ("a: !!set {x}", 1, "!!set"),
    "an ordered mapping": ("a: !!omap [x: 1]", 1, "!!omap"),
    "pairs": ("a: !!pairs [x: 1]", 1, "!!pairs"),
    "a list as a text": ("a: !!str [x]", 1, "!!str"),
    "a mapping as a list": ("a: !!seq {x: 1}", 1, "!!seq"),
    "code": ("a: !!python/object/apply:os.system ['true']", 1, "!!python/object/apply:os.system"),
    "a tag of one's own": ("a: !x 1", 1, "the tag !x"),
    "a merge of a number": ("a: {<<: 3}", 1, "<<: takes a mapping"),
    "a list as a key": ("x: 1\n? [1]\n: 2", 2, "a key is a word, and here it is a list"),
    "a mapping as a key": ("{? {a: 1} : 2}", 1, "a key is a word, and here it is a mapping"),
    "null as a key": ("~: 1", 1, "a key is a word, and here it is null"),
    "nothing as a key": ("a: {'': 1}", 1, "a: a key is a word, and here it is nothing"),
    "a key twice": ("a: 1\nb: 2\na: 3", 3, "a: this key is given twice"),
    "a key twice in two writings": ("a: {1: x, '1': y}", 1, "a.1: this key is given twice"),
    "a key in two forms of Unicode": ("\u00e9: 1\ne\u0301: 2", 2, "given twice, in two forms of Unicode"),
    "half a character": ('a: "\\ud800"', 1, "cannot stand in a text"),
    "no character": ('a: "\\U00110000"', 1, "not valid YAML"),
    "a null character": ('a: "x\\0y"', 1, "cannot stand in a text"),
    "an escape": ('a: "\\e[31m"', 1, "cannot stand in a text"),
    "a raw escape": ("x: 1\na: \x1b[31m", 2, "cannot stand there"),
    "an escape in a key": ('"\\e[31m": 1', 1, "cannot stand in a text"),
    "an open list": ("a: [1\nb: 2", 2, "not valid YAML"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_named_with_its_line(kind: str) -> None:
    text, line, expected = REFUSED[kind]
    with pytest.raises(PlainYamlError) as caught:
        read_one(text)
    assert expected in str(caught.value)
    assert line in (None, caught.value.line)


def test_as_many_values_and_levels_as_the_bounds_say_are_read() -> None:
    assert len(read_one("[" + "1," * (MOST_VALUES - 1) + "]").value) == MOST_VALUES - 1
    value = read_one("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1)).value
    for _ in range(MOST_DEPTH):
        [value] = value
    assert value == []


def test_files_are_bounded_and_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(PlainYamlError, match="not UTF-8 text") as caught:
        read_file(file)
    assert caught.value.line == 2
    file.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(PlainYamlError, match=f"longer than {MOST_BYTES:,} bytes"):
        read_file(file)


def test_what_has_no_end_or_no_writer_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(PlainYamlError, match="a pipe or a device"):
            read_file(path)
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")
