"""What an experiment or a table file asks for is bounded, and the message says by what."""

from collections.abc import Callable
from pathlib import Path

import pytest
from attacks.outcomes import bounded

from raysl.config import load
from raysl.config.document import ConfigError
from raysl.config.paper_table import load_tables

HEAD = "name: example\ndata: {source: digits, labels: 40}\n"
STAGE = "method: {name: rotation}, epochs: 3, batch_size: 32, optimizer: {name: adam, lr: 0.1}"
EXPERIMENT = f"{HEAD}seeds: 1\nstages:\n  one: {{{STAGE}}}\n"
SIDAE = f"{HEAD}stages:\n  one: {{{STAGE.replace('rotation', 'sidae')}, select: probe_accuracy}}\n"


def numbers(count: int, kind: str = "grid") -> str:
    return f"{{{kind}: [{', '.join(map(str, range(1, count + 1)))}]}}"


def keys(count: int, end: str = ": 1, ") -> str:
    return "".join(f"k{n}{end}" for n in range(count))


LR, EPOCHS = "stages.one.optimizer.lr=", "stages.one.epochs="


def drawn(algorithm: str, num_configs: int, sampler: str = "{name: TPESampler}") -> list[str]:
    search = f"{{algorithm: {algorithm}, num_configs: {num_configs}, sampler: {sampler}}}"
    return [f"{LR}{{uniform: [0.1, 1]}}", f"stages.one.search={search}"]


# Each: an experiment, overrides, and what the message must hold.
TOO_MUCH = {
    "seeds": (EXPERIMENT, ["seeds=300000000"], "seeds: must be less than or equal to 1000, not 300000000"),
    "a list of seeds": (EXPERIMENT, [f"seeds={list(range(1001))}"], "at most 1000 items"),
    "values of a grid": (EXPERIMENT, [f"{LR}{numbers(501)}"], "a grid of 501 values; at most 500"),
    "values of a choice": (EXPERIMENT, [f"{LR}{numbers(700, 'choice')}"], "a choice of 700 values; at most 500"),
    "grids together": (
        EXPERIMENT,
        [f"{LR}{numbers(101)}", f"{EPOCHS}{numbers(100)}"],
        "100 (epochs) x 101 (optimizer.lr) are 10,100 configs; at most 10,000; stages.one.search: {algorithm: random",
    ),
    "many grids together": (
        EXPERIMENT,
        [
            f"stages.one.optimizer={{name: adam, lr: {numbers(400)}, weight_decay: {numbers(400)}}}",
            f"{EPOCHS}{numbers(400)}",
            f"stages.one.batch_size={{grid: {list(range(20, 420))}}}",
        ],
        "25,600,000,000 configs; at most 10,000",
    ),
    "drawn configs": (EXPERIMENT, drawn("random", 10_001), "less than or equal to 10000, not 10001"),
    "proposed configs": (EXPERIMENT, drawn("optuna", 10**9), "less than or equal to 10000, not 1000000000"),
    "trials": (
        EXPERIMENT,
        [f"{LR}{numbers(101)}", "seeds=500"],
        "seeds: 500 seeds of 101 configs are 50,500 trials; at most 50,000",
    ),
    "trials of proposed configs": (EXPERIMENT, [*drawn("optuna", 101), "seeds=500"], "50,500 trials; at most 50,000"),
    "trials of stages together": (
        EXPERIMENT + f"  two: {{{STAGE}}}\n",
        [f"{LR}{numbers(100)}", "seeds=500"],
        "500 seeds of 101 configs are 50,500 trials",
    ),
    "stages": (
        HEAD + "stages:\n" + "".join(f"  s{n}: {{{STAGE}}}\n" for n in range(101)), [], "at most 100 items",
    ),
    "candidates of a sampler": (
        SIDAE,
        drawn("optuna", 4, "{name: TPESampler, n_ei_candidates: 1000000000, n_startup_trials: 0}"),
        "sampler.n_ei_candidates: must be at most 10,000, not 1000000000",
    ),
    "parents of a sampler": (
        SIDAE, drawn("optuna", 4, "{name: NSGAIISampler, population_size: 100000000}"), "population_size: must be at",
    ),
    "options of a sampler": (
        EXPERIMENT,
        [f"stages.one.search={{sampler: {{{keys(9000)}}}}}", f"{LR}{numbers(100)}", f"{EPOCHS}{numbers(100)}"],
        "at most 50 items",
    ),
    "keys of a stage's data": (
        EXPERIMENT,
        [f"stages.one.data={{{keys(9000)}}}", f"{LR}{numbers(100)}", f"{EPOCHS}{numbers(100)}"],
        "stages.one.data.k0: unknown key; choices: attack, ",
    ),
    "keys of a stage": (EXPERIMENT, [f"stages.one={{{keys(9000)}}}"], "stages.one.k0: unknown key"),
    "keys of an experiment": (EXPERIMENT + keys(9000, ": 1\n"), [], ":6: k0: unknown key"),
    "milestones": (EXPERIMENT, [f"stages.one.milestones={list(range(1, 102))}"], "at most 100 items"),
    "digits": (EXPERIMENT, ["seeds=" + "9" * 101], "a number has at most 100 digits"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_too_much_is_refused_in_time_and_memory(tmp_path: Path, kind: str) -> None:
    text, overrides, expected = TOO_MUCH[kind]
    file = tmp_path / "example.yaml"
    file.write_text(text)
    with bounded(), pytest.raises(ConfigError) as caught:
        load(file, overrides=overrides)
    assert expected in str(caught.value)
    assert " or must be a valid list" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "num_trials"),
    [
        (["seeds=1000"], 1000),
        ([f"seeds={list(range(1000))}"], 1000),
        ([f"{LR}{numbers(500)}"], 500),
        ([f"{LR}{numbers(100)}", f"{EPOCHS}{numbers(10)}", "seeds=50"], 50_000),
        ([*drawn("optuna", 10_000), "seeds=5"], 50_000),
    ],
)
def test_as_much_as_the_bounds_say_is_taken(tmp_path: Path, overrides: list[str], num_trials: int) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(EXPERIMENT)
    with bounded():
        assert load(file, overrides=overrides).num_trials == num_trials


def part(count: int, letter: str) -> str:
    """Rows or columns, each of which overrides something else."""
    key = {"r": "epochs", "c": "batch_size"}[letter]
    parts = (f"{letter}{n}: {{title: x, set: {{stages.one.{key}: {n + 20}}}}}" for n in range(count))
    return f"{{{', '.join(parts)}}}"


def table(rows: int, columns: int, more: str = "") -> str:
    return (
        "{name: t, source: s, profiles: {p: {d: {}}}, tables: {a: {title: t, experiment: example.yaml, stage: one, "
        f"data: d, rows: {part(rows, 'r')}, columns: {part(columns, 'c')}{more}}}}}}}"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (table(11, 91), "tables: 1,001 cells of rows and columns; at most 1,000 in a file"),
        (
            table(10, 10, ", set: {seeds: 600}"),
            "cell a/r8/c3: with this cell's, 50,400 trials are asked for; at most 50,000",
        ),
        (table(1, 1, ", set: {seeds: 100000}"), "cell a/r0/c0: "),
        (table(1, 1, f", set: {{{'.'.join('a' * 50)}: 1}}"), "a key of 50 parts; it has at most 32"),
        (table(1, 1, ", set: {'a..b': 1}"), "tables.a.set: 'a..b' is no key"),
        (table(1, 1, ", set: {x: " + "[" * 40 + "]" * 40 + "}"), "nested more than 32 deep"),
        (table(1, 1, ", set: {x: &a [*a]}"), "an alias (*) stands within its own anchor (&)"),
    ],
)
def test_table_files_are_bounded_too(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "example.yaml").write_text(EXPERIMENT)
    file = tmp_path / "table.yaml"
    file.write_text(text)
    with bounded(), pytest.raises(ConfigError) as caught:
        load_tables(file, None, [], [])
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{file}:1: ")


BOMB = "x: [&a [x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b,*b], " + (
    "&d [*c,*c,*c,*c,*c,*c,*c,*c,*c], [*d,*d,*d,*d,*d,*d,*d,*d,*d]]"
)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda file: load(file),
        lambda file: load(file, "p"),
        lambda file: load(file, overrides=["seeds=2"]),
        lambda file: load_tables(file, None, [], []),
    ],
)
def test_aliases_are_bounded_wherever_a_file_is_read(tmp_path: Path, attempt: Callable[[Path], object]) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(f"{EXPERIMENT}profiles:\n  p: {{{BOMB}}}\n")
    with (
        bounded(),
        pytest.raises(ConfigError, match=r":7: more than 20,000 keys and values, an alias \(\*\) counted as"),
    ):
        attempt(file)
    file.write_text(EXPERIMENT)
    with bounded(), pytest.raises(ConfigError, match=r"^--set x=.*more than 20,000 keys and values"):
        load(file, overrides=[BOMB.replace(": ", "=", 1)])
