"""Trials of shipped experiments on images of noise, for benchmarks."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from raysl.config import load
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write
from raysl.data.storage.scan import inspect, resolve
from raysl.search.trials import expand
from raysl.training.spec import TrialSpec

SEARCH_SPACES = Path(__file__).parents[2] / "search_spaces"
FILES = {"semi": "rotation_semi"}
CHANNELS, NUM_CLASSES = 3, 10
WITHOUT_END = 10_000  # epochs: a trial goes on for as long as it is measured


def write_images(folder: Path, size: int, count: int) -> Path:
    """Write a set of noise, with as many images for training and a few for the test."""
    numbers = np.random.default_rng(0)
    path = folder / f"noise{size}.parquet"
    rows = (
        Row(encode(numbers.integers(256, size=(size, size, CHANNELS), dtype=np.uint8)), n % NUM_CLASSES, split)
        for split, number in (("train", count), ("test", NUM_CLASSES))
        for n in range(number)
    )
    write(path, rows, [str(n) for n in range(NUM_CLASSES)], "noise", "none")
    return path


def spec_of(
    method: str,
    model: str,
    images: Path,
    batch_size: int,
    profile: str | None = None,
    precision: str = "fp32",
    more: Mapping[str, object] = MappingProxyType({}),
) -> TrialSpec:
    """Return a trial of a method's experiment, with another model and other images.

    more: settings of its stage.
    """
    file = SEARCH_SPACES / f"{FILES.get(method, method)}.yaml"
    stage = load(file, profile).stages[0]
    changes = [f"data.source=parquet:{images}", "data.labels=all", f"model.backbone={model}"]
    settings = {"epochs": WITHOUT_END, "batch_size": batch_size, "precision": precision, **more}
    changes += [f"stages.{stage.name}.{key}={value}" for key, value in settings.items()]
    changed = load(file, profile, changes)
    data = resolve(changed.data, inspect(changed.data))
    return expand(changed, changed.stages[0], {s.name: data for s in changed.stages}, {})[0].spec
