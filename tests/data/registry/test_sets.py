"""Where sets are found."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from raysl.data.registry.sets import KNOWN, locate
from raysl.data.storage.images import decode
from raysl.data.storage.parquet import TRAIN, read_batches, read_labels
from raysl.errors import DataError


def test_digits_are_those_of_scikit_learn() -> None:
    path = locate("digits", download=False)
    (batch, _) = read_batches(path)
    pixels = decode(batch.column("image").to_pylist(), 8, 1, 0)[..., 0]
    np.testing.assert_array_equal(np.rint(pixels / 255 * 16), load_digits().images[: len(pixels)])
    assert pixels.max() == 255
    index = read_labels(path)
    assert index.labels.tolist() == load_digits().target.tolist()
    assert (index.splits == TRAIN).sum() == KNOWN["digits"].num_train
    content = path.read_bytes()
    path.unlink()
    assert locate("digits").read_bytes() == content


def test_a_known_set_is_looked_for_in_both_homes(
    make_set: Callable[..., Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = cache / "data" / "cifar10.parquet"
    cached.parent.mkdir(parents=True)
    make_set().rename(cached)
    assert locate("cifar10") == cached
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.setenv("RAYSL_DATA", str(given))
    assert locate("cifar10") == cached
    make_set().rename(given / "cifar10.parquet")
    assert locate("cifar10") == given / "cifar10.parquet"


def test_a_set_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSL_DATA", str(tmp_path / "given"))
    with pytest.raises(DataError, match=r"stl10.parquet is not under .*given nor .*cache/data, and downloading is"):
        locate("stl10", download=False)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cifar", "'cifar' is no known set; did you mean 'cifar10'"),
        ("", "'' is no known set; choices: bloodmnist, camvid_seg, cifar10, cifar100"),
        ("csv:here", "'csv:here' is no known set; .*parquet:PATH, folder:PATH"),
        ("parquet:/not/there.parquet", "/not/there.parquet does not exist"),
        ("folder:/not/there", "/not/there does not exist"),
    ],
)
def test_a_source_that_is_none_is_named(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        locate(source)


def test_known_sets_have_their_papers_sizes() -> None:
    assert (KNOWN["stl10"].num_train, KNOWN["stl10"].num_unlabelled, KNOWN["stl10"].num_test) == (5000, 100_000, 8000)
    assert KNOWN["malaria"].num_train + KNOWN["malaria"].num_test == 27_558
    cifar100, tiny = KNOWN["cifar100"], KNOWN["tiny_imagenet"]
    assert (cifar100.num_classes, cifar100.num_train, cifar100.num_test, cifar100.image_size) == (
        100,
        50_000,
        10_000,
        32,
    )
    assert (tiny.num_classes, tiny.num_train, tiny.num_test, tiny.image_size) == (200, 100_000, 10_000, 64)
    assert all(name == known.name for name, known in KNOWN.items())
