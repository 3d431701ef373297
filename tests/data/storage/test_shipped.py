"""Sets that come from another machine: their content is checked, they come once, and arrays are made of them."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysl.data.registry.sets import locate, locate_content
from raysl.data.settings import DataSettings, TrialData
from raysl.data.storage.decoded_cache import load
from raysl.data.storage.scan import has_content, inspect, resolve
from raysl.data.storage.shipped import VARIABLE, Carried, as_variable, carried_path, receive
from raysl.errors import DataError

MakeSet = Callable[..., Path]


def trial_data(source: str) -> TrialData:
    settings = DataSettings(source=source, labels=4)
    return resolve(settings, inspect(settings))


def copying(path: Path) -> Callable[[Path], None]:
    return lambda target: target.write_bytes(path.read_bytes()) and None


def test_a_set_comes_once_however_many_ask_at_once(make_set: MakeSet) -> None:
    path = make_set()
    digest = trial_data(f"parquet:{path}").digest
    came: list[Path] = []
    started = threading.Barrier(4)

    def write(target: Path) -> None:
        came.append(target)
        copying(path)(target)

    def ask() -> None:
        started.wait()
        receive(digest, write, "there")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(came) == 1
    assert carried_path(digest).read_bytes() == path.read_bytes()
    assert [file.name for file in carried_path(digest).parent.glob("*.parquet")] == [f"{digest}.parquet"]


@pytest.mark.parametrize("bad", ["other", "truncated"])
def test_what_is_not_the_content_asked_for_is_refused_and_not_kept(make_set: MakeSet, bad: str) -> None:
    path = make_set()
    digest = trial_data(f"parquet:{path}").digest
    other = make_set("other", train=42)
    if bad == "truncated":
        other.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=r"s3://bucket/there\.parquet: its content does not have the digest in its name.*delete it"
    ):
        receive(digest, copying(other), "s3://bucket/there.parquet")
    assert not carried_path(digest).exists()
    receive(digest, copying(path), "there")
    assert has_content(carried_path(digest), digest)


def test_a_cache_without_room_is_named(make_set: MakeSet, cache: Path) -> None:
    def write(target: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=f"{cache}.*No space left on device.*RAYSL_CACHE"):
        receive("0" * 32, write, "there")


def test_arrays_are_made_of_a_carried_set_where_the_source_is_not(
    make_set: MakeSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make_set()
    data = trial_data(f"parquet:{path}")
    here = load(data)
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "elsewhere"))
    receive(data.digest, copying(path), "there")
    path.unlink()
    np.testing.assert_array_equal(load(data).images, here.images)


def test_a_carried_set_stands_before_a_source_with_other_content(
    make_set: MakeSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make_set()
    data = trial_data(f"parquet:{path}")
    monkeypatch.setenv("RAYSL_CACHE", str(tmp_path / "elsewhere"))
    receive(data.digest, copying(path), "there")
    make_set(train=42)  # in its place
    assert len(load(data).labels) == 40
    assert locate_content(data.source, data.digest) == carried_path(data.digest)


def test_a_source_of_another_machine_is_what_was_carried_and_keeps_its_name(
    make_set: MakeSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make_set()
    data = trial_data(f"parquet:{path}")
    content = path.read_bytes()
    path.unlink()
    variables = as_variable({"parquet:mine.parquet": Carried(data.source, data.digest)})
    monkeypatch.setenv(VARIABLE, variables[VARIABLE])
    receive(data.digest, lambda target: target.write_bytes(content) and None, "there")
    assert locate("parquet:mine.parquet") == carried_path(data.digest)
    assert trial_data("parquet:mine.parquet") == data
    assert json.loads(variables[VARIABLE]).keys() == {"parquet:mine.parquet"}
    assert as_variable({}) == {}


def test_a_file_that_is_missing_damaged_or_another_has_not_the_content(make_set: MakeSet) -> None:
    path = make_set()
    digest = trial_data(f"parquet:{path}").digest
    assert has_content(path, digest)
    assert not has_content(make_set("other", train=42), digest)
    path.write_bytes(path.read_bytes()[:-100])
    assert not has_content(path, digest)
    assert not has_content(path.parent / "nowhere.parquet", digest)
