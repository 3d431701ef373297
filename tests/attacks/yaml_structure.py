"""Experiments whose structure was tampered with: values, keys, nesting, aliases, tags, sizes."""

import io
import json
import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from attacks.outcomes import outcome
from rich.console import Console

from raysl.api.dataset_setup import resolve_data
from raysl.api.observer import Silent
from raysl.api.search_request import read_request
from raysl.commands.dry_run import list_trials
from raysl.plain_yaml import read_one

SPACES = Path(__file__).parents[2] / "search_spaces"
CHANGES = (1, 1, 1, 2, 3, 5)


class Raw(str):
    """YAML that stands in a text as it is."""

    __slots__ = ()


PRETRAINED = """\
name: pretrained
data: {source: digits, labels: 40, unlabelled: 128}
model: {backbone: small_resnet, features: 16}
seeds: 2
streams: {split: 0}
resources: {workers: 1, cpus: 1}
probes: {knn: {k: 5}}
stages:
  pretrain:
    method: {name: sidae, w: {uniform: [0, 1]}}
    epochs: {int: [5, 9]}
    milestones: [2, 4]
    batch_size: 32
    optimizer: {name: sgd, lr: {loguniform: [1e-3, 1]}}
    schedule: {name: cosine, warmup: 1}
    select: probe_accuracy
    search: {algorithm: random, num_configs: 3}
  semi:
    method: {name: semi, pretext: {name: rotation}, lambda_u: 0.5}
    epochs: 3
    batch_size: {choice: [16, 32]}
    optimizer: {name: adam, lr: {grid: [1e-2, 1e-3]}}
    schedule: {name: exponential}
    stop: {scheduler: median}
  linear:
    method: {name: supervised}
    data: {labels: all, attack: {name: one_pixel}}
    start_from: pretrain
    freeze: backbone
    probe: classifier
    epochs: 3
    batch_size: 20
    optimizer: {name: lars, lr: 0.01}
  frozen:
    method: {name: frozen}
    start_from: semi
    probe: knn
profiles:
  short: {stages: {semi: {epochs: 1}}}
"""
OPTUNA = PRETRAINED.replace("algorithm: random", "algorithm: optuna, objectives: [probe_accuracy, seconds]")


def _bomb(depth: int) -> Raw:
    levels = ["&b0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"&b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, depth)]
    return Raw(f"[{', '.join(levels)}]")


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 50, 1.5, -0.5, 1e-300, 10**9, 10**15, 10**18, 10**80, 300_000_000, 2**32,
    2**63, "", "x", "all", "digits", "~", "null", ".nan", "folder:/nowhere", "parquet:~nobody/x", "folder:.", "a.b",
    "a[b]", "é", "e\u0301", "[red]", "[/]", "\u202eabc", "x" * 5000, "lr=3", "0.1, 0.2", "loguniform(1e-3, 1)",
    "../../x", "folder:" + "y" * 300, Raw(".nan"), Raw(".inf"), Raw("-.inf"), Raw("2026-13-45"), Raw("2026-01-01"),
    Raw("1:30"), Raw("0x10"), Raw("1_000"), Raw("9" * 5000), Raw("1e999"), Raw("1e-999"), Raw("0." + "1" * 90),
    Raw("!!int x"), Raw("!!float x"), Raw("!!timestamp x"), Raw("!!binary '%'"), Raw("!!set {a, b}"),
    Raw("!!omap [a: 1]"), Raw("!!pairs [a: 1]"), Raw("!!merge x"), Raw("!!null x"), Raw("!!bool 3"), Raw("!!str 3"),
    Raw("!!python/name:os.system"), Raw("!!python/object/apply:os.getcwd []"), Raw("!x 3"), Raw("!<tag:x> 3"),
    Raw("&a [*a]"), Raw("&a {k: *a}"), Raw("*nowhere"), Raw("{<<: [3]}"), Raw("{<<: {lr: 1}}"), Raw("<<"),
    Raw('"\\0"'), Raw('"\\e[31m"'), Raw('"\\ud800"'), Raw('"\\U00110000"'), Raw('"\\n\\n"'), Raw("{? [1, 2] : 3}"),
    Raw("{? : 3}"), Raw("{.nan: 1, ~: 2}"), Raw("{1: 2}"), Raw("{2026-13-45: 2}"), Raw("[" * 40 + "]" * 40),
    Raw("[" * 3000), Raw("{a: " * 3000), [], {}, [1], [[1]], [None], [{}], ["x"], [1, 1], [0.1, 0.2], {"a": 1},
    {"name": "adam"}, {"name": ["x"]}, {"name": {"x": 1}}, {"foo": 1, "name": ["x"]}, {"grid": []}, {"grid": [1, 2]},
    {"grid": [0.1, "x", None]}, {"grid": [[1]]}, {"grid": 3}, {"grid": list(range(1, 400))},
    {"grid": [n / 7 for n in range(1, 99)]}, {"choice": list(range(1, 600))}, {"choice": ["a", 1]},
    {"uniform": [0, 1]}, {"uniform": [1, 0]}, {"uniform": [0.1, 0.9]}, {"loguniform": [1e-5, 1]},
    {"loguniform": [0, 1]}, {"int": [1, 10**15]}, {"int": [1, 4]}, {"int": [1, 10**30]}, {"int": "x"},
    {"uniform": [Raw(".nan"), 1]}, {"grid": [1], "int": [1, 2]}, {"values": [1, 2]}, {"min": 1, "max": 3},
    {"low": 0.1, "high": 0.2, "log": True}, {"choice": {"a": 1}}, {"distribution": "uniform", "min": 0, "max": 1},
    {"type": "choice", "values": [1]}, {"max": 3}, {"algorithm": "optuna", "num_configs": 10**6},
    {"algorithm": "random", "num_configs": 200}, {"scheduler": "asha"},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": "TPESampler", "n_ei_candidates": 10**9}},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": "TPESampler", "n_startup_trials": 10**9}},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": "TPESampler", "n_startup_trials": 0}},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": ["TPESampler"]}},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": "NSGAIISampler", "population_size": 10**12}},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": "CmaEsSampler", "x0": {"a": []}}},
    {"algorithm": "random", "num_configs": 3, "seed": -1}, list(range(2000)), {f"k{n}": n for n in range(500)},
)  # fmt: skip
MILD: tuple[Any, ...] = (
    1, 2, 3, 10, 16, 40, 64, 0.01, 0.1, 0.5, True, False, None, "all", "balanced", "uniform", "knn", "linear_svm",
    "none", "backbone", "train_loss", "probe_accuracy", "semi", "pretrain", "linear", "resnet18", "cifar", "sgd",
    "cosine", {"grid": [1, 2]}, {"grid": [0.1, 0.2]}, {"grid": [16, 32]}, {"choice": [4, 8]}, {"uniform": [0.1, 0.5]},
    {"int": [4, 9]}, {"loguniform": [0.01, 0.1]}, {"name": "adam", "lr": 0.1},
    {"name": "adamw", "lr": {"grid": [0.1, 0.2]}}, [1, 2], [5], {"name": "cosine", "warmup": 1}, {"name": "rotation"},
    {"name": "simclr"}, {"name": "frozen"}, {"name": "one_pixel"}, {"algorithm": "random", "num_configs": 4},
    {"algorithm": "optuna", "num_configs": 4}, {"scheduler": "median"},
    {"algorithm": "optuna", "num_configs": 4, "sampler": {"name": "RandomSampler"}}, {"labels": "all"}, {"folds": 3},
)  # fmt: skip
KEYS = (
    "", "x", "epochs", "lr", "name", "grid", "<<", "~", "a.b", "stages", "tables", "profiles", "labels", "é",
    "e\u0301", "1", "learning_rate", "num_samples", "\u202e", "[/red]", "k" * 3000, "data", "search", "method",
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[str]:
    """Yield experiments, each of one seed and number alone."""
    bases = _bases()
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        yield text_of(tampered(rng.choice(bases[: rng.choice((2, len(bases)))]), rng))


@cache
def _bases() -> list[Any]:
    texts = (PRETRAINED, OPTUNA, *(path.read_text() for path in sorted(SPACES.glob("*.yaml"))))
    return [read_one(text).value for text in texts]


def tampered(values: Any, rng: random.Random) -> Any:
    """Return nested values of which some are changed."""
    values = json.loads(json.dumps(values))
    for _ in range(rng.choice(CHANGES)):
        owners = list(_owners(values))
        owner = rng.choice(owners)
        if isinstance(owner, dict):
            _tamper_mapping(owner, owners, rng)
        elif owner:
            owner[rng.randrange(len(owner))] = value(rng)
    return values


def _tamper_mapping(owner: dict[str, Any], owners: Sequence[Any], rng: random.Random) -> None:
    key = rng.choice(list(owner) or ["x"])
    kind = rng.choice(("value", "value", "value", "value", "delete", "rename", "add", "move", "wrap", "bomb", "many"))
    if kind == "delete":
        owner.pop(key, None)
    elif kind == "rename":
        owner[rng.choice(KEYS)] = owner.pop(key, None)
    elif kind == "add":
        owner[rng.choice(KEYS)] = value(rng)
    elif kind == "move":
        owner[key] = json.loads(json.dumps(rng.choice(owners)))
    elif kind == "wrap":
        for _ in range(rng.choice((1, 3, 60))):
            owner[key] = rng.choice(([owner.get(key)], {"x": owner.get(key)}, {"name": owner.get(key)}))
    elif kind == "bomb":
        owner[key] = _bomb(rng.randint(2, 9))
    elif kind == "many":
        owner |= {f"{key}{n}": owner.get(key) for n in range(rng.choice((2, 20, 300)))}
    else:
        owner[key] = value(rng)


def value(rng: random.Random) -> Any:
    """Return a value that some key might well have, or one that none should have."""
    return deepcopy(rng.choice(MILD if rng.random() < 0.4 else VALUES))


def _owners(values: Any) -> Iterator[Any]:
    if isinstance(values, dict | list) and not isinstance(values, Raw):
        yield values
        for below in values.values() if isinstance(values, dict) else values:
            yield from _owners(below)


def text_of(values: Any) -> str:
    """Return nested values as YAML's flow style."""
    if isinstance(values, Raw):
        return str(values)
    if isinstance(values, dict):
        pairs = (f"{key if key == '<<' else json.dumps(key)}: {text_of(value)}" for key, value in values.items())
        return "{" + ",\n".join(pairs) + "}"
    if isinstance(values, list):
        return "[" + ", ".join(map(text_of, values)) + "]"
    return json.dumps(values)


def run(case: str, folder: Path) -> str:
    """Return what becomes of an experiment: `accepted`, `refused`, or a fault."""
    file = folder / "experiment.yaml"
    file.write_text(case)
    return outcome(lambda: dry_run(file))


def dry_run(file: Path, overrides: Sequence[str] = ()) -> None:
    """Do what `raysl tune --dry-run` does, without downloads."""
    wanted = read_request(file, None, overrides, [])
    console = Console(file=io.StringIO(), width=160)
    prepared = [(experiment, resolve_data(experiment, Silent(), download=False)) for experiment in wanted.experiments]
    list_trials(wanted, prepared, console)
