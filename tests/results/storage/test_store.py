import os
import pickle
import random
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raysl.errors import ResultsError
from raysl.results.storage.store import Store, folder_id

WRITE_FOR_EVER = """
import sys
from raysl.results.storage.store import Store
store = Store.open(sys.argv[1], create=False)
store.write("rows/a.bin", b"b" * 8_000_000)
print("ready", flush=True)
while True:
    store.write("rows/a.bin", b"a" * 8_000_000)
    store.write("rows/a.bin", b"b" * 8_000_000)
"""


def test_a_file_comes_back_and_is_listed_by_name(store: Store) -> None:
    store.write("rows/b.parquet", b"b")
    store.write("rows/a.parquet", b"a")
    store.write("rows/c.json", b"c")
    local = store.local_path("rows/.a.parquet.tmp")
    assert local is not None
    local.write_bytes(b"half")
    assert store.read("rows/a.parquet") == b"a"
    assert store.list("rows", ".parquet") == ["a.parquet", "b.parquet"]
    assert store.list("nowhere", ".parquet") == []
    assert not store.exists("rows/a")


def test_names_that_look_compressed_are_read_as_they_are(store: Store) -> None:
    store.write("a.gz", b"not gzip")
    assert store.read("a.gz") == b"not gzip"


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.write("a", b"a")
    store.delete("a")
    store.delete("a")
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_a_pickled_store_finds_a_relative_folder_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(Store.open("results", create=True))
    monkeypatch.chdir("/")
    pickle.loads(pickled).write("a", b"a")
    assert (tmp_path / "results" / "a").read_bytes() == b"a"


def test_file_uris_are_local(tmp_path: Path) -> None:
    store = Store.open(f"file://{tmp_path}/a%20b", create=True)
    store.write("x", b"x")
    assert store.local_path("x") == tmp_path / "a b" / "x"


def test_a_killed_writer_leaves_a_whole_file(store: Store) -> None:
    folder = store.local_path("")
    assert folder is not None
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, store.uri], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.05 + 0.1 * random.random())
            child.kill()
        content = store.read("rows/a.bin")
        assert content in (b"a" * 8_000_000, b"b" * 8_000_000)
        assert store.list("rows", ".tmp") == []


def test_opening_for_writing_clears_old_temporaries_alone(store: Store) -> None:
    store.write("rows/a", b"a")
    folder = store.local_path("rows")
    assert folder is not None
    old, young, other = (folder / f".a.{'0' * 31}{n}.tmp" for n in (1, 2, 3))
    other = folder / ".notes.tmp"
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (1, 1))
    Store.open(store.uri, create=True)
    assert [path.exists() for path in (old, young, other)] == [False, True, True]


def test_a_write_that_fails_half_way_keeps_the_old_content_and_leaves_nothing(store: Store) -> None:
    store.write("rows/a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ResultsError, match=r"rows/a: File too large"):
            store.write("rows/a", b"new" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder = store.local_path("rows")
    assert folder is not None
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert store.read("rows/a") == b"old"


def test_a_folder_that_cannot_be_is_named_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ResultsError, match=r"file: is a file"):
        Store.open(str(file), create=True)
    with pytest.raises(ResultsError, match=r"file/results: Not a directory"):
        Store.open(str(file / "results"), create=True)
    with pytest.raises(ResultsError, match=r"absent: no such folder"):
        Store.open(str(tmp_path / "absent"), create=False)
    with pytest.raises(ResultsError, match=r"/proc/raysl"):
        Store.open("/proc/raysl", create=True)


def test_a_folder_keeps_its_id_and_no_other_has_it(tmp_path: Path) -> None:
    stores = [Store.open(str(tmp_path / name), create=True) for name in ("a", "b")]
    first, second = map(folder_id, stores)
    assert first != second
    assert len(first) == 8
    (tmp_path / "a").rename(tmp_path / "moved")
    assert folder_id(Store.open(str(tmp_path / "moved"), create=False)) == first


def test_all_who_ask_at_once_get_the_same_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for place in range(10):
            store = Store.open(str(tmp_path / str(place)), create=True)
            assert len(set(pool.map(folder_id, [store] * 8))) == 1
            assert [path.name for path in (tmp_path / str(place)).iterdir()] == ["folder.json"]


def test_a_file_is_created_once_also_without_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("a", b"first")
    store.create("a", b"second")
    assert store.read("a") == b"first"

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    store.create("b", b"first")
    assert store.read("b") == b"first"


def test_a_damaged_id_is_replaced(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.write("folder.json", b"")
    assert folder_id(store) == folder_id(store)
    assert "folder.json is damaged" in caplog.text


def test_an_unknown_kind_of_uri_is_refused() -> None:
    with pytest.raises(ResultsError, match=r"ftp://host/folder: Unrecognized filesystem"):
        Store.open("ftp://host/folder", create=True)


def test_a_worker_that_does_not_see_the_folder_does_not_make_one(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "elsewhere"))
    with pytest.raises(ResultsError, match="does not exist on this machine"):
        store.write("rows/a", b"a")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_comes_up_while_it_is_listed_is_no_error(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "results"), create=True)
    made, ended = [0], threading.Event()

    def list_the_next() -> None:
        while not ended.is_set():
            assert set(store.list(f"claims{made[0]}", "")) <= {"a"}

    with ThreadPoolExecutor(1) as pool:
        lister = pool.submit(list_the_next)
        try:
            for number in range(1000):
                made[0] = number
                time.sleep(0)
                store.write(f"claims{number}/a", b"")
        finally:
            ended.set()
        lister.result()


@pytest.mark.parametrize("path", ["../precious.json", "rows/../../precious.json", "/precious.json", "rows/\0", "a/.."])
def test_no_path_leaves_the_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "precious.json").write_text("{}")
    store = Store.open(str(tmp_path / "results"), create=True)
    for use in (store.read, store.delete, store.exists, store.local_path, lambda given: store.list(given, ".json")):
        with pytest.raises(ResultsError, match="no place in a results folder"):
            use(path)
    for write in (store.write, store.create, lambda given, content: store.write_pieces(given, [content])):
        with pytest.raises(ResultsError, match="no place in a results folder"):
            write(path, b"")
    assert (tmp_path / "precious.json").read_text() == "{}"
