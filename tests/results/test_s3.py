"""A results folder on an object store: a real server, wrong keys, no bucket, and nobody there."""

import pickle
import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest
from moto import settings
from s3_server import BUCKET, KEY, SECRET, S3Server, s3_server

from raysl.errors import ResultsError
from raysl.results.storage import file_systems as module
from raysl.results.storage.file_systems import without_keys
from raysl.results.storage.store import Store, folder_id


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


def uri(server: S3Server, folder: str = "results", keys: str = "") -> str:
    return f"s3://{keys}{BUCKET}/{folder}?{server.query}"


def test_a_folder_on_an_object_store(server: S3Server) -> None:
    with pytest.raises(ResultsError, match="no such folder"):
        Store.open(uri(server), create=False)
    store = Store.open(uri(server, "my%20results"), create=True)
    store.write("rows/b.parquet", b"old")
    store.write("rows/b.parquet", b"new")
    store = pickle.loads(pickle.dumps(store))
    assert store.read("rows/b.parquet") == b"new"
    assert store.list("rows", ".parquet") == ["b.parquet"]
    assert store.list("nowhere", ".parquet") == []
    assert store.local_path("rows/b.parquet") is None
    assert folder_id(store) == folder_id(store)
    assert server.objects("my results/rows/") == {"my results/rows/b.parquet": b"new"}
    store.delete("rows/b.parquet")
    store.delete("rows/b.parquet")
    with pytest.raises(FileNotFoundError):
        store.read("rows/b.parquet")


@pytest.mark.parametrize("size", [100, 30_000_000])
def test_a_write_is_one_object_and_leaves_no_upload_open(server: S3Server, size: int) -> None:
    store = Store.open(uri(server), create=True)
    store.write("models/a.pt", b"a" * size)
    assert store.read("models/a.pt") == b"a" * size
    assert sorted(server.objects()) == ["results/", "results/models/a.pt"]
    assert not server.bucket.multiparts


def test_the_environment_names_the_server_and_the_keys_too(server: S3Server) -> None:
    """As on a cluster, where no command line should hold them."""
    store = Store.open(f"s3://{BUCKET}/results", create=True)
    store.write("a", b"a")
    assert Store.open(uri(server), create=False).read("a") == b"a"


def test_a_bucket_that_is_not_there_is_named(server: S3Server) -> None:
    with pytest.raises(ResultsError, match=r"^results folder s3://buckets/results: Bucket 'buckets' not found"):
        Store.open(f"s3://buckets/results?{server.query}", create=True)
    made = Store.open(f"s3://buckets/results?{server.query}&allow_bucket_creation=true", create=True)
    made.write("a", b"a")
    assert made.read("a") == b"a"


def test_keys_that_are_refused(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(uri(server), create=True)
    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)  # keys are looked at; there are no users
    for create in (True, False):
        with pytest.raises(ResultsError, match="AWS Error") as caught:
            Store.open(uri(server), create=create)
        assert str(caught.value).startswith(f"results folder s3://{BUCKET}/results: ")
        assert SECRET not in str(caught.value)


def test_an_option_that_there_is_not_is_named(server: S3Server) -> None:
    with pytest.raises(ResultsError, match="query parameter in S3 URI: 'endpoint'"):
        Store.open(f"s3://{BUCKET}/results?endpoint={server.host}", create=True)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"s3://{KEY}:{SECRET}@bucket/folder", "s3://bucket/folder"),
        (f"s3://{KEY}:{SECRET}@bucket/a@b?scheme=http", "s3://b"),  # rather too little
        (f"s3://{KEY}:a/{SECRET}@bucket/folder/", "s3://bucket/folder"),
        (f"s3://{KEY}:a?{SECRET}@bucket/folder", "s3://bucket/folder"),
        ("s3://bucket/folder@2?endpoint_override=host:9000&scheme=http", "s3://bucket/folder@2"),
        ("gs://anonymous@bucket/folder", "gs://bucket/folder"),
        ("abfs://container@account.dfs.core.windows.net/folder?client_secret=x", "abfs://account.dfs.core.windows.net/folder"),
        ("/home/me@here/results?", "/home/me@here/results?"),
    ],
)  # fmt: skip
def test_no_key_is_shown(address: str, shown: str) -> None:
    assert without_keys(address) == shown


@pytest.mark.parametrize("keys", [f"{KEY}:{SECRET}@", f"{KEY}:slash/{SECRET}@"])
def test_keys_in_an_address_are_in_no_message(server: S3Server, keys: str) -> None:
    """A secret key of AWS may hold a slash, and has to be written %2F in an address."""
    if "/" not in keys:
        store = Store(uri(server, keys=keys))
        assert SECRET not in f"{store} {store!r} {store.address('a')}"
    with pytest.raises(ResultsError) as caught:
        Store.open(uri(server, keys=keys), create=False)
    assert BUCKET in str(caught.value)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_server_that_is_down_is_waited_for(server: S3Server) -> None:
    """As one that is started anew: pyarrow would wait, but not where it is told only to come again later."""
    store = Store.open(uri(server), create=True)
    server.busy = 2
    store.write("a", b"a")
    assert server.busy == 0
    assert store.read("a") == b"a"


@pytest.mark.slow
def test_a_server_that_is_not_there_is_named(server: S3Server) -> None:
    Store.open(uri(server), create=True)
    server.stop()
    try:
        with pytest.raises(ResultsError, match="Could not connect to server"):
            Store.open(uri(server), create=False)
    finally:
        server.start()


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pyarrow makes of an address would ask it thirty times."""
    monkeypatch.setattr(module, "_ATTEMPTS", 2)
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    heard: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as deaf:

        def listen() -> None:
            with suppress(OSError):  # it is closed
                while True:
                    heard.append(deaf.accept()[0])

        Thread(target=listen, daemon=True).start()
        address = f"endpoint_override=127.0.0.1:{deaf.getsockname()[1]}&scheme=http"
        with pytest.raises(ResultsError, match="Timeout was reached"):
            Store.open(f"s3://{BUCKET}/results?{address}", create=False)
    assert len(heard) == 2
