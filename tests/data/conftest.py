"""Small sets in the project's Parquet form, and a cache of each test's own."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysl.data.images import encode
from raysl.data.parquet import Row, write

REAL_DATA = os.environ.get("RAYSL_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no RAYSL_DATA."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RAYSL_CACHE", str(folder))
    monkeypatch.delenv("RAYSL_DATA", raising=False)
    return folder


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real sets."""
    if REAL_DATA is None:
        pytest.skip("RAYSL_DATA is not set")
    monkeypatch.setenv("RAYSL_DATA", REAL_DATA)
    return Path(REAL_DATA)


def small_rows(train: int = 40, test: int = 20, unlabelled: int = 0, size: int = 8, channels: int = 1) -> list[Row]:
    """Random images of classes 0, 1, 0, 1, ..., the splits mixed with one another as files may have them."""
    generator = np.random.default_rng(0)
    shape = (size, size) if channels == 1 else (size, size, channels)
    splits = ["train"] * train + ["test"] * test + ["unlabelled"] * unlabelled
    rows = []
    for number, split in enumerate(generator.permutation(splits)):
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        rows.append(Row(encode(pixels), -1 if split == "unlabelled" else number % 2, str(split)))
    return rows


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., Path]:
    """Write rows (those of `small_rows` with the given keywords if none are given) as the set NAME.parquet."""

    def make(name: str = "small", rows: list[Row] | None = None, **kinds: int) -> Path:
        path = tmp_path / f"{name}.parquet"
        write(path, small_rows(**kinds) if rows is None else rows, ["cat", "dog"], "made for a test", "none")
        return path

    return make
