"""Test features come back as they were written, and nothing that is damaged is taken for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysl.errors import ResultsError
from raysl.results.records import features as module
from raysl.results.records.features import Features, features_path, has_features, read_features, write_features
from raysl.results.storage.store import Store

NAMES = ("T-shirt/top", "Coat", "Bag")


@pytest.fixture
def features() -> Features:
    random = np.random.default_rng(0)
    return Features(
        trial_id="t0",
        class_names=NAMES,
        source="digits",
        labels=random.integers(0, 3, 40),
        predicted=random.integers(0, 3, 40),
        features=np.maximum(random.normal(size=(40, 16)), 0).astype(np.float32),
    )


def file_of(store: Store, trial_id: str) -> Path:
    path = store.local_path(features_path(trial_id))
    assert path is not None
    return path


def refused(store: Store, trial_id: str) -> str:
    assert not has_features(store, trial_id)
    with pytest.raises(ResultsError) as error:
        read_features(store, trial_id)
    return str(error.value)


def test_features_come_back_as_they_were(store: Store, features: Features) -> None:
    write_features(store, features)
    for folder in (store, store.uri):
        found = read_features(folder, "t0")
        assert (found.trial_id, found.class_names, found.source) == ("t0", NAMES, "digits")
        for name in ("labels", "predicted", "features"):
            np.testing.assert_array_equal(getattr(found, name), getattr(features, name))
            assert getattr(found, name).dtype == getattr(features, name).dtype
    assert has_features(store, "t0")


def test_the_file_is_plain_arrow_with_the_promised_schema(store: Store, features: Features) -> None:
    write_features(store, features)
    table = pa.ipc.open_file(pa.memory_map(str(file_of(store, "t0")))).read_all()
    assert [field.type for field in table.schema] == [pa.int64(), pa.int64(), pa.list_(pa.float32(), 16)]
    assert table.schema.names == ["label", "predicted", "features"]
    assert not any(field.nullable for field in table.schema)
    assert table.num_rows == 40
    assert table.schema.metadata[b"trial_id"] == b"t0"
    assert table.schema.metadata[b"class_names"] == b'["T-shirt/top", "Coat", "Bag"]'
    assert table.schema.metadata[b"source"] == b"digits"


def test_the_file_is_compressed_and_the_same_every_time(store: Store, features: Features) -> None:
    dead = replace(features, features=np.zeros((40, 1000), np.float32))
    write_features(store, dead)
    content = file_of(store, "t0").read_bytes()
    assert len(content) < 10_000
    write_features(store, dead)
    assert file_of(store, "t0").read_bytes() == content


def test_missing_features_name_the_command_that_makes_them(store: Store) -> None:
    message = refused(store, "t9")
    assert "features/t9.arrow" in message
    assert f"raysl tune FILE --results {store.uri}`" in message


@pytest.mark.parametrize("length", [0, 20, -1, -1000])
def test_a_truncated_file_is_refused(store: Store, features: Features, length: int) -> None:
    write_features(store, features)
    file = file_of(store, "t0")
    file.write_bytes(file.read_bytes()[:length])
    message = refused(store, "t0")
    assert "features/t0.arrow: damaged" in message
    assert f"raysl tune FILE --results {store.uri}`" in message


def test_another_value_than_was_written_is_refused(store: Store, features: Features) -> None:
    write_features(store, features)
    file = file_of(store, "t0")
    table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    predicted = table["predicted"].to_pylist()
    predicted[3] = (predicted[3] + 1) % 3
    changed = table.set_column(1, table.schema.field(1), pa.array(predicted)).combine_chunks()
    with pa.ipc.new_file(str(file) + ".new", table.schema) as writer:
        writer.write_table(changed)
    Path(str(file) + ".new").replace(file)
    assert "digest" in refused(store, "t0")


def test_the_file_of_another_trial_is_refused(store: Store, features: Features) -> None:
    write_features(store, features)
    file_of(store, "t0").rename(file_of(store, "t1"))
    assert "holds trial t0" in refused(store, "t1")


def test_a_later_version_is_refused(store: Store, features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSION", b"2")
    write_features(store, features)
    monkeypatch.setattr(module, "VERSION", b"1")
    assert "schema version '2'" in refused(store, "t0")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such folder"):
        read_features(str(tmp_path / "nowhere"), "t0")
