"""The malaria archive, from a server of the test's own that holds a small one of its form."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysl.data.registry import malaria
from raysl.data.registry.downloads import ARCHIVED
from raysl.data.registry.sets import locate
from raysl.data.sampling.subsets import assign_splits
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import read_batches, read_labels
from raysl.errors import DataError

RANDOM = np.random.default_rng(0)


def cells(each: int = 6, **extra: bytes) -> tuple[bytes, dict[str, bytes]]:
    images = {}
    for kind in ("Parasitized", "Uninfected"):
        for number in range(each):
            pixels = RANDOM.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            images[f"cell_images/{kind}/C{number}.png"] = encode(pixels)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**images, "cell_images/Uninfected/Thumbs.db": b"no image", **extra}.items():
            archive.writestr(name, data)
    return buffer.getvalue(), images


def offer_cells(server: Any, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    server.offer("cell_images.zip", data)
    known = ARCHIVED["malaria"]
    archive = known.archive._replace(urls=(server.url + "cell_images.zip",), checksum=hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(ARCHIVED, "malaria", known._replace(archive=archive))
    monkeypatch.setattr(malaria, "CELLS", 6)


def test_malaria_is_split_as_train_fraction_splits_it(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, images = cells()
    offer_cells(server, data, monkeypatch)
    path = locate("malaria")
    rows = [row for batch in read_batches(path) for row in batch.to_pylist()]
    names = [f"cell_images/{kind}/C{number}.png" for kind in ("Uninfected", "Parasitized") for number in range(6)]
    assert [row["image"] for row in rows] == [images[name] for name in names]
    assert [row["label"] for row in rows] == [0] * 6 + [1] * 6
    index = read_labels(path)
    assert np.bincount(index.splits).tolist() == [6, 6]
    assert assign_splits(index.labels, index.splits, 2, 0.5).tolist() == index.splits.tolist()
    assert index.class_names == ("Uninfected", "Parasitized")


@pytest.mark.parametrize(("each", "extra"), [(5, {}), (6, {"cell_images/Other/C1.png": b""})])
def test_a_malaria_archive_with_other_cells_is_refused(
    server: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, each: int, extra: dict[str, bytes]
) -> None:
    offer_cells(server, cells(each, **extra)[0], monkeypatch)
    with pytest.raises(DataError, match="expected 6 in each and no others"):
        locate("malaria")
    assert not [path for path in (cache / "data").iterdir() if path.suffix != ".lock"]
