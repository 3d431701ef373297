"""Large files of a results folder: in pieces, and there whole or not at all."""

import os
from collections.abc import Iterator

import pytest
from s3_server import BUCKET, s3_server

from raysl.errors import ResultsError
from raysl.results.storage.store import Store

PATH = "data/a.parquet"


def pieces(last: BaseException | None = None) -> Iterator[bytes]:
    for number in range(3):
        yield bytes([number]) * 6_000_000
    if last is not None:
        raise last


@pytest.fixture
def object_store() -> Iterator[Store]:
    with s3_server() as server:
        yield Store.open(f"s3://{BUCKET}/results?{server.query}", create=True)


def check(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.write_pieces(PATH, pieces(KeyboardInterrupt()))
    assert not store.exists(PATH)
    store.write_pieces(PATH, pieces())
    read = list(store.read_pieces(PATH))
    assert b"".join(read) == b"".join(pieces()) == store.read(PATH)
    assert len(read) > 1
    with pytest.raises(FileNotFoundError):
        next(store.read_pieces("data/b.parquet"))


def test_a_large_file_on_a_disk(store: Store) -> None:
    check(store)
    with pytest.raises(ResultsError, match=r"data/a\.parquet: .*broken"):
        store.write_pieces(PATH, pieces(OSError("broken")))
    assert store.read(PATH) == b"".join(pieces())
    local = store.local_path("data")
    assert local is not None
    assert os.listdir(local) == ["a.parquet"]


def test_a_large_file_on_an_object_store(object_store: Store) -> None:
    check(object_store)
