"""What goes to other machines: a set once, through the results folder; and this very code."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import raysl
from raysl.data.settings import DataSettings, TrialData
from raysl.data.storage.decoded_cache import load, prepare
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write
from raysl.data.storage.scan import inspect, resolve
from raysl.data.storage.shipped import carried_path
from raysl.errors import DataError
from raysl.launch.cluster.shipping import MERGED, OF_THE_JOB, ensure_data, runtime_environment, send, set_path
from raysl.results.storage.store import Store


def make_set(path: Path, seed: int = 0) -> TrialData:
    """Write 40 random training and 20 test images, and return their data."""
    generator = np.random.default_rng(seed)
    images = [encode(generator.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(60)]
    rows = [Row(image, number % 2, "train" if number < 40 else "test") for number, image in enumerate(images)]
    write(path, rows, ["cat", "dog"], "made for a test", "none")
    settings = DataSettings(source=f"parquet:{path}", labels=4)
    return resolve(settings, inspect(settings))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialData:
    """The data of a set that this machine has."""
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "here"))
    return make_set(tmp_path / "set.parquet")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "results"), create=True)


def test_a_set_is_sent_once(data: TrialData, store: Store, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    send(data.source, data.digest, store, lambda what, done, total: told.append((done, total)))
    sent = store.local_path(set_path(data.digest))
    assert sent is not None
    size = (tmp_path / "set.parquet").stat().st_size
    assert sent.read_bytes() == (tmp_path / "set.parquet").read_bytes()
    assert told == [(size, size)]
    before = sent.stat()
    send(data.source, data.digest, store)
    assert (sent.stat().st_ino, sent.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_set_that_was_exchanged_is_not_sent(data: TrialData, store: Store, tmp_path: Path) -> None:
    make_set(tmp_path / "set.parquet", seed=1)
    with pytest.raises(DataError, match="has changed"):
        send(data.source, data.digest, store)
    assert not store.list("data", "")


def test_a_machine_that_lacks_a_set_fetches_it(
    data: TrialData, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load(data)
    send(data.source, data.digest, store)
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "there"))
    (tmp_path / "set.parquet").unlink()
    ensure_data(data, store, file=False)
    np.testing.assert_array_equal(load(data).images, here.images)


def test_a_machine_where_the_source_holds_other_images_fetches_it(
    data: TrialData, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load(data)
    send(data.source, data.digest, store)
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "there"))
    make_set(tmp_path / "set.parquet", seed=1)
    ensure_data(data, store, file=False)
    np.testing.assert_array_equal(load(data).images, here.images)


@pytest.mark.parametrize("file", [False, True])
def test_a_machine_that_has_the_very_set_fetches_nothing(
    data: TrialData, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: bool
) -> None:
    send(data.source, data.digest, store)
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "there"))
    ensure_data(data, store, file=file)
    assert not carried_path(data.digest).exists()


def test_decoded_images_do_for_training_and_not_for_what_wants_the_file(
    data: TrialData, store: Store, tmp_path: Path
) -> None:
    prepare(data)
    send(data.source, data.digest, store)
    (tmp_path / "set.parquet").unlink()
    ensure_data(data, store, file=False)
    assert not carried_path(data.digest).exists()
    ensure_data(data, store, file=True)
    assert carried_path(data.digest).exists()


def test_damaged_arrays_of_a_machine_that_lacks_the_set_are_made_again(
    data: TrialData, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(data.source, data.digest, store)
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "there"))
    (tmp_path / "set.parquet").unlink()
    ensure_data(data, store, file=False)
    images = load(data).images.copy()
    carried_path(data.digest).unlink()
    [array] = (tmp_path / "there" / "arrays").glob("*/train_images.npy")
    array.write_bytes(array.read_bytes()[:-1])
    ensure_data(data, store, file=False)
    np.testing.assert_array_equal(load(data).images, images)


def test_what_no_search_has_sent_is_left_to_the_machine(data: TrialData, store: Store, tmp_path: Path) -> None:
    (tmp_path / "set.parquet").unlink()
    ensure_data(data, store, file=False)
    assert not carried_path(data.digest).exists()


def test_the_running_code_goes_to_the_nodes_and_nothing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 32)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv(OF_THE_JOB, raising=False)
    with runtime_environment() as environment:
        assert environment["py_modules"] == list(raysl.__path__)
        assert environment["env_vars"]["OMP_WAIT_POLICY"] == "ACTIVE"
        assert environment["env_vars"]["MALLOC_ARENA_MAX"] == "1"
        assert "a" * 32 not in json.dumps(environment)
        # Without a working directory of its own, Ray would let the driver's come first on every worker.
        assert os.listdir(environment["working_dir"]) == ["empty"]


def test_what_a_job_has_brought_stays_and_comes_after_the_running_code(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"runtime_env": {"working_dir": "gcs://a.zip", "py_modules": ["gcs://b.zip"], "env_vars": {"A": "b"}}}
    monkeypatch.setenv(OF_THE_JOB, json.dumps(job))
    monkeypatch.delenv(MERGED, raising=False)
    with runtime_environment() as environment:
        assert environment["py_modules"] == [*raysl.__path__, "gcs://b.zip"]
        assert "working_dir" not in environment
        assert os.environ[MERGED] == "1"
    assert MERGED not in os.environ
