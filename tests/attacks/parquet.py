"""Parquet files: mutated bytes, and whole files of odd schemas, values and metadata.

cases(seed, count), run(case)
"""

import io
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attacks.mutations import mutated
from attacks.workers import judged

from raysl.data.settings import DataSettings
from raysl.data.storage.images import encode
from raysl.data.storage.scan import inspect
from raysl.errors import UserError

NAMES = ["cat", "dog"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
FILES = (
    "train-00000-of-00001.parquet",
    "test.parquet",
    "unlabelled.parquet",
    "set.parquet",
    "data/test-00000-of-00002.parquet",
)


class Case(NamedTuple):
    """A name of what was done, and the files of a folder, or the one file."""

    name: str
    files: dict[str, bytes]


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield so many cases; the same seed gives the same."""
    generator = random.Random(seed)
    for number in range(count):
        if number % 2:
            files = {
                name: _odd(generator)
                for name in generator.sample(FILES[: generator.randint(2, 5)], generator.randint(1, 2))
            }
            yield Case("odd", files)
        else:
            name, content = generator.choice(list(_seeds().items()))
            whole = generator.random() < 0.1
            yield Case(name, {generator.choice(FILES[:2]): content if whole else mutated(content, generator)})


def run(case: Case) -> str:
    """Return what comes of looking at the set."""
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, {"RAYSL_CACHE": f"{name}/cache"}):
        place = Path(name, "set")
        for file, content in case.files.items():
            path = place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        source = f"parquet:{path if len(case.files) == 1 else place}"
        return judged(lambda: inspect(DataSettings(source=source)), UserError)


def _images(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    return [encode(generator.integers(0, 256, (6, 6), dtype=np.uint8)) for _ in range(count)]


def _written(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def _own(images: list[bytes]) -> pa.Table:
    count = len(images)
    columns = {
        "image": images,
        "label": pa.array([n % 2 for n in range(count)], pa.int32()),
        "split": ["train"] * count,
    }
    return pa.table(columns).replace_schema_metadata({"class_names": json.dumps(NAMES)})


def _theirs(images: list[bytes]) -> pa.Table:
    columns = {
        "image": [{"bytes": image, "path": "a.png"} for image in images],
        "label": [n % 2 for n in range(len(images))],
    }
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pa.table(columns).replace_schema_metadata(metadata)


@cache
def _seeds() -> dict[str, bytes]:
    images = _images(20)
    return {
        "ours": _written(_own(images), compression="zstd", write_page_checksum=True),
        "ours, plain": _written(_own(images), compression="none", use_dictionary=False),
        "theirs": _written(_theirs(images)),
        "theirs, gzip": _written(_theirs(images), compression="gzip", row_group_size=7),
    }


def _odd(generator: random.Random) -> bytes:
    count = generator.choice([0, 1, 4])
    columns = {
        generator.choice(["image"] * 6 + ["img", "picture"]): _odd_images(generator, count),
        generator.choice(["label"] * 6 + ["fine_label", "y"]): _odd_labels(generator, count),
    }
    if generator.random() < 0.5:
        names: list[Any] = ["train", "test", "unlabelled", "unlabeled", "val", None, "\N{SNOWMAN}"]
        columns["split"] = pa.array(
            [generator.choice(names[: generator.randint(1, 7)]) for _ in range(count)], pa.string()
        )
    table = pa.table(columns).replace_schema_metadata(_odd_metadata(generator))
    return _written(table)


def _odd_images(generator: random.Random, count: int) -> pa.Array:
    images = _images(count)
    choices: list[Callable[[], pa.Array]] = [
        lambda: pa.array(images, pa.binary()),
        lambda: pa.array(images, pa.large_binary()),
        lambda: pa.array([{"bytes": image, "path": None} for image in images]),
        lambda: pa.array([{"bytes": None, "path": "/etc/passwd"} for _ in images]),
        lambda: pa.array([{"path": "x"} for _ in images]),
        lambda: pa.array([None, *images][:count], pa.binary()),
        lambda: pa.array([list(image) for image in images], pa.list_(pa.uint8())),
        lambda: pa.array(["text"] * count, pa.string()),
        lambda: pa.array([b""] * count, pa.binary()),
        lambda: pa.array([None] * count, pa.null()),
        lambda: pa.array(images, pa.binary()).dictionary_encode(),
    ]
    return generator.choice(choices[:3] * 6 + choices)()


def _odd_labels(generator: random.Random, count: int) -> pa.Array:
    kind = generator.choice([pa.int64(), pa.int64(), pa.int32(), pa.uint64(), pa.float64(), pa.string(), pa.bool_()])
    if pa.types.is_integer(kind):
        values: list[Any] = [0, 1, 0, 1] if generator.random() < 0.7 else [2**31 - 1, None, 1, 0]
    else:
        values = [True, None, False, True] if pa.types.is_boolean(kind) else [None] * 4
    return pa.array(values[:count], kind)


def _odd_metadata(generator: random.Random) -> dict[str, bytes]:
    info: list[Any] = [
        {"info": {"features": FEATURES}},
        {"info": {"features": {"fine_label": FEATURES["label"], "y": FEATURES["label"]}}},
        {"info": None},
        {"info": {"features": [1]}},
        {"info": {"features": {"label": {"names": {"0": "cat"}}}}},
        [],
    ]
    metadata: dict[str, bytes] = {}
    if generator.random() < 0.7:
        metadata["huggingface"] = json.dumps(generator.choice(info[:1] * 4 + info)).encode()
    if generator.random() < 0.5:
        names = [
            b'["cat", "dog"]',
            b'["cat", "dog"]',
            b'["dog", "cat"]',
            b"[" * 100_000,
            b"\xff",
            b"null",
            b"{}",
            b'["a"]',
        ]
        metadata["class_names"] = generator.choice(names)
    return metadata
