"""Arguments of `--set` that were tampered with."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks.outcomes import outcome
from attacks.yaml_structure import KEYS, OPTUNA, PRETRAINED, dry_run, text_of, value

from raysl.plain_yaml import read_one

NUM_ARGUMENTS = (1, 1, 2, 3)
ODD = (
    "", "=", "==", "=3", "a", "a=", "a.b.c", ".", "..=1", "a..b=1", '"=1', "'a.b'=1", '"a.b".c=1', "a\nb=1",
    "a\x1b[31m=1", "\udcff=1", "x=\udcff", "x=\0", ".".join("a" * 2000) + "=1", "a" * 100_000 + "=1",
    "seeds=" + "x" * 100_000, "seeds=" + "[" * 3000, " " * 50_000 + "=1", "seeds= - 1", "seeds=|\n 3", "stages.0=1",
    "stages.semi.milestones.0=3", "--set=3", "data.attack={foo: 1, name: [x]}", "epochs=3", "lr=0.1",
    "seeds=300000000", "profiles.short.seeds=3", "tables={}", "stages={}", "stages=null", "data=null",
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[list[str]]:
    """Yield what is given to `--set`, each of one seed and number alone."""
    leaves = [leaf for text in (PRETRAINED, OPTUNA) for leaf in _leaves((), read_one(text).value)]
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        yield [_argument(leaves, rng) for _ in range(rng.choice(NUM_ARGUMENTS))]


def _leaves(path: tuple[str, ...], values: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield all keys, each with its value."""
    for key, below in values.items():
        yield (*path, key), below
        if isinstance(below, dict):
            yield from _leaves((*path, key), below)


def _argument(leaves: list[tuple[tuple[str, ...], Any]], rng: random.Random) -> str:
    if rng.random() < 0.1:
        return rng.choice(ODD)
    found, known = rng.choice(leaves)
    path = list(found)
    if rng.random() < 0.4:
        numbers = [known + 1, known * 2, known / 2] if isinstance(known, int | float) else []
        return f"{'.'.join(path)}={text_of(rng.choice([known, *numbers]))}"
    match rng.choice((*["as it is"] * 6, "key", "longer", "shorter", "letters")):
        case "key":
            path[rng.randrange(len(path))] = rng.choice(KEYS)
        case "longer":
            path += [rng.choice(KEYS) for _ in range(rng.choice((1, 2, 50)))]
        case "shorter":
            path = path[rng.randrange(len(path)) :]
        case "letters":
            word = rng.randrange(len(path))
            path[word] = "".join(rng.sample(path[word], len(path[word])))
    argument = f"{'.'.join(path)}={text_of(value(rng))}"
    if rng.random() < 0.1:
        start = rng.randint(0, len(argument))
        argument = (
            argument[:start]
            + rng.choice(("=", ".", '"', "'", "{", "]", "\t", ":", ": ", "#", "&a ", "*a"))
            + argument[start:]
        )
    return argument


def run(case: list[str], folder: Path) -> str:
    """Return what becomes of an experiment with overrides: `accepted`, `refused`, or a fault."""
    file = folder / "experiment.yaml"
    file.write_text(PRETRAINED)
    return outcome(lambda: dry_run(file, case))
