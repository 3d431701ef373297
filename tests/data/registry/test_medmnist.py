"""MedMNIST's .npz files, from a server of the test's own that holds small ones of their form."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from raysl.data.registry.downloads import ARCHIVED
from raysl.data.registry.medmnist import SETS, archive_of
from raysl.data.registry.sets import KNOWN, locate
from raysl.data.settings import DataSettings
from raysl.data.storage.decoded_cache import load, load_test
from raysl.data.storage.parquet import read_labels
from raysl.data.storage.scan import inspect, resolve
from raysl.errors import DataError

Arrays = dict[str, np.ndarray]
COUNTS = {"train": 20, "val": 3, "test": 9}
TOTALS = {"pathmnist": 107_180, "dermamnist": 10_015, "octmnist": 109_309, "bloodmnist": 17_092}  # Bdair et al. 2022


def small(name: str) -> Arrays:
    """The arrays of a small set: the published names, types and shapes; labels [N, 1]."""
    random = np.random.default_rng(0)
    colours = (3,) if SETS[name].channels == 3 else ()
    arrays: Arrays = {}
    for split, count in COUNTS.items():
        arrays[f"{split}_images"] = random.integers(0, 256, (count, 28, 28, *colours), dtype=np.uint8)
        arrays[f"{split}_labels"] = random.integers(0, len(SETS[name].class_names), (count, 1), dtype=np.uint8)
    return arrays


def published(name: str, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, url: str = "http://127.0.0.1:1/") -> bytes:
    """Make the small file the one that is known under that name, at that address."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    content = buffer.getvalue()
    known = ARCHIVED[name]
    archive = known.archive._replace(urls=(f"{url}{name}.npz",), checksum=hashlib.md5(content).hexdigest())
    monkeypatch.setitem(ARCHIVED, name, known._replace(archive=archive))
    monkeypatch.setitem(SETS, name, SETS[name]._replace(**COUNTS))
    return content


@pytest.mark.parametrize("name", ["pathmnist", "octmnist"])
def test_the_published_split_is_kept(server: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    arrays = small(name)
    server.offer(f"{name}.npz", published(name, arrays, monkeypatch, server.url))
    settings = DataSettings(source=name, labels="all")
    told: list[tuple[str, int, int | None]] = []
    facts = inspect(settings, progress=lambda *fact: told.append(fact))
    assert (facts.num_train, facts.num_unlabelled, facts.num_test) == (20, 20, 9)
    assert (facts.image_size, facts.channels) == (28, SETS[name].channels)
    data = resolve(settings, facts)
    made, (test_images, test_labels) = load(data), load_test(data)
    for split, images, labels in (("train", made.images, made.labels), ("test", test_images, test_labels)):
        np.testing.assert_array_equal(images, arrays[f"{split}_images"].reshape(images.shape))
        np.testing.assert_array_equal(labels, arrays[f"{split}_labels"].ravel())
    assert (f"encode {name}", 29, 29) in told
    assert f"download {name}.npz" in {what for what, *_ in told}


def test_the_file_says_where_it_is_from(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = published("dermamnist", small("dermamnist"), monkeypatch, server.url)
    server.offer("dermamnist.npz", content)
    metadata = pq.read_schema(locate("dermamnist")).metadata
    url, md5 = f"{server.url}dermamnist.npz", hashlib.md5(content).hexdigest()
    source = f"MedMNIST v2 (Yang 2023), {url}, md5 {md5}; the published train and test splits, its 3 validation images"
    assert metadata[b"source"].decode() == f"{source} left out"
    assert metadata[b"licence"] == b"CC BY-NC 4.0"


@pytest.mark.parametrize(
    ("name", "label", "class_name"),
    [
        ("pathmnist", 5, "smooth muscle"),
        ("dermamnist", 4, "melanoma"),
        ("octmnist", 2, "drusen"),
        ("bloodmnist", 6, "neutrophil"),
    ],
)
def test_sets_are_those_of_the_paper(name: str, label: int, class_name: str) -> None:
    facts, known = SETS[name], KNOWN[name]
    assert facts.train + facts.val + facts.test == TOTALS[name]
    assert (known.num_train, known.num_test, known.channels) == (facts.train, facts.test, facts.channels)
    assert known.num_classes == len(set(facts.class_names))
    assert facts.class_names[label] == class_name
    assert archive_of(name) == ARCHIVED[name].archive
    assert archive_of(name).urls == (f"https://zenodo.org/records/10519652/files/{name}.npz?download=1",)


def test_a_given_file_is_converted_without_a_download(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("RAYSL_DATA", str(given))
    arrays = small("bloodmnist")
    content = published("bloodmnist", arrays, monkeypatch)
    (given / "bloodmnist.npz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=rf"^{given}/bloodmnist\.npz: md5 is \w+, not \w+ \(truncated"):
        locate("bloodmnist")
    (given / "bloodmnist.npz").write_bytes(content)
    path = locate("bloodmnist")
    assert path == given / "bloodmnist.parquet"
    assert read_labels(path).labels.tolist() == [*arrays["train_labels"].ravel(), *arrays["test_labels"].ravel()]
    assert (given / "bloodmnist.npz").read_bytes() == content
    assert sorted(file.name for file in given.iterdir() if file.suffix != ".lock") == [
        "bloodmnist.npz",
        "bloodmnist.parquet",
    ]


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def harmed(tmp_path: Path, harm: str) -> Arrays:
    arrays = small("octmnist")
    if harm == "pickled":
        arrays["test_labels"] = np.array([Harmful(tmp_path / "unpickled")] * COUNTS["test"], object)[:, None]
    elif harm == "missing":
        del arrays["train_labels"]
    elif harm == "flat":
        arrays["train_labels"] = arrays["train_labels"].ravel()
    elif harm == "wide":
        arrays["test_images"] = arrays["test_images"].astype(np.uint16)
    elif harm == "fractions":
        arrays["test_labels"] = arrays["test_labels"] / 2
    elif harm == "coloured":
        arrays["train_images"] = np.stack([arrays["train_images"]] * 3, axis=-1)
    else:
        arrays["test_images"], arrays["test_labels"] = arrays["val_images"], arrays["val_labels"]
    return arrays


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("pickled", "allow_pickle=False"),
        ("missing", "train_labels is not a file in the archive"),
        ("flat", r"train_labels holds uint8 \[20\]; expected integer \[20, 1\]"),
        ("wide", r"test_images holds uint16 .*; expected uint8"),
        ("fractions", r"test_labels holds float64 .*; expected integer"),
        ("coloured", r"train_images holds uint8 \[20, 28, 28, 3\]; expected uint8 \[20, 28, 28\]"),
        ("fewer", r"test_images holds uint8 \[3, 28, 28\]; expected uint8 \[9, 28, 28\]"),
    ],
)
def test_a_file_of_another_form_is_refused(
    server: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str, message: str
) -> None:
    server.offer("octmnist.npz", published("octmnist", harmed(tmp_path, harm), monkeypatch, server.url))
    with pytest.raises(DataError, match=f"octmnist could not be downloaded: .*{message}"):
        locate("octmnist")
    assert not (tmp_path / "unpickled").exists()
    assert not [file for file in (cache / "data").iterdir() if file.suffix != ".lock"]
