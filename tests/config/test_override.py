"""What `--set` takes as a key and a value."""

from pathlib import Path

import pytest

from raysl.config import load
from raysl.config.document import ConfigError
from raysl.config.override import parse_override

EXPERIMENT = """\
name: example
data: {labels: 50}
stages:
  pre.v1:
    method: {name: rotation}
    epochs: 3
    batch_size: 32
    optimizer: {name: adam, lr: 0.01}
  fine:
    method: {name: supervised}
    start_from: pre.v1
    epochs: 3
    batch_size: 32
    optimizer: {name: sgd, lr: 0.1}
profiles:
  "caf\u00e9": {seeds: 3}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seeds=3", ("seeds",), 3),
        (" data.labels = 0.05", ("data", "labels"), 0.05),
        ('stages."pre.v1".epochs=7', ("stages", "pre.v1", "epochs"), 7),
        ("stages.'a=b'.x=y=z", ("stages", "a=b", "x"), "y=z"),
        ('a."b[0]".c={d: "e.f=g"}', ("a", "b[0]", "c"), {"d": "e.f=g"}),
        ("a=", ("a",), None),
    ],
)
def test_keys_are_parts_between_dots_or_in_quotes(text: str, path: tuple[str, ...], value: object) -> None:
    override = parse_override(text)
    assert (override.path, override.value) == (path, value)


def test_a_stage_with_a_dot_in_its_name_is_reached_in_quotes(file: Path) -> None:
    assert load(file, overrides=['stages."pre.v1".epochs=7']).stages[0].settings.epochs == 7
    with pytest.raises(ConfigError, match=r"""'pre.v1' is one name; .*: --set 'stages."pre.v1".epochs=...'"""):
        load(file, overrides=["stages.pre.v1.epochs=7"])
    with pytest.raises(ConfigError, match=r'stages."pre.v1".epochs: must be a valid integer'):
        load(file, overrides=['stages."pre.v1".epochs=x'])


def test_a_profile_is_found_under_either_form_of_its_letters(file: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        experiment = load(file, name)
        assert (experiment.seeds, experiment.profile) == ((0, 1, 2), "caf\u00e9")


# Each: an override, and what the message must hold.
REFUSED = {
    "2,000 dots": (".".join("a" * 2000) + "=1", "is no key"),
    "100 dots": (".".join("a" * 101) + "=1", "a key of 101 parts; it has at most 32"),
    "3,000 brackets": ("seeds=" + "[" * 3000, "nested more than 32 deep"),
    "aliases": ("seeds=[&a [x], &b [*a, *a], *c]", "undefined alias"),
    "100 kB": ("seeds=" + "x" * 100_000, "seeds: must be a valid integer, not 'xxx"),
    "1 MB": ("seeds=" + "x" * 1_000_000, "seeds: the text is longer than 262,144 characters"),
    "100 kB of key": ("x" * 100_000 + "=1", "is no key"),
    "an escape": ("seeds=\x1b[31m", r"'\x1b' cannot stand there"),
    "an escape in the key": ("\x1b[31m=1", r'"\x1b[31m": unknown key'),
    "half a character": ("seeds=\udcff", r"'\udcff' cannot stand there"),
    "a list as a name": ("data.attack={foo: 1, name: [x]}", "data.attack.name: must be one of 'one_pixel', not ['x']"),
    "a mapping as a name": ("stages.fine.optimizer.name={a: 1}", "unknown name"),
    "a list as a scheduler": ("stages.fine.stop={scheduler: [asha]}", "unknown scheduler"),
    "no key at all": ("=1", "an override is written key=value"),
    "an open quote": ('stages."fine=1', "an override is written key=value"),
    "an empty part": ("stages. .x=1", "a part of it is empty"),
    "a key of a list": ("data={? [1] : 2}", "a key is a word"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_one_short_message(file: Path, kind: str) -> None:
    override, expected = REFUSED[kind]
    with pytest.raises(ConfigError) as caught:
        load(file, overrides=[override])
    message = str(caught.value)
    assert expected in message
    assert message.startswith("--set ")
    assert len(message) <= 2000
    assert message.replace("\n", "").isprintable()
