"""Rows that are taken from the file of copies are those that lie in their own files, whatever happens to these."""

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysl
from raysl.results.records import record_cache
from raysl.results.records.rows import (
    Epoch,
    Score,
    TrialRow,
    read_rows,
    read_scores,
    write_row,
    write_row_copies,
    write_score,
)
from raysl.results.storage.store import Store

MakeRow = Callable[..., TrialRow]
COPIES = "gathered/rows.arrow"


class Counting(Store):
    """A results folder that notes what is read of it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.was_read: list[str] = []

    def read(self, path: str) -> bytes:
        self.was_read.append(path)
        return super().read(path)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(record_cache, "FEW", 0)
    monkeypatch.setattr(record_cache, "SHARE", 0.0)
    fresh()
    yield
    fresh()


def fresh() -> None:
    """Forget what this process has read, as another process would not know it."""
    record_cache._gathered.cache_clear()


def aged(store: Store) -> None:
    """Let all files be as old as if the search had been yesterday's."""
    for place, path in enumerate(sorted(Path(store.uri).rglob("*.*"))):
        at = 1_800_000_000 * 10**9 - 86_400 * 10**9 + 1000 * place + 1
        os.utime(path, ns=(min(at, time.time_ns() - 10**10 + place),) * 2)


@pytest.fixture
def folder(store: Store, make_row: MakeRow) -> Store:
    """Rows of every kind, one of an earlier version among them, and two scores; all copied."""
    write_row(store, make_row())
    other = (Epoch(0, 0.1, 3.0, {"b": 1.0, "a": 2.0}, 1.0), Epoch(1, 0.1, 3.5, {}, 1.0))
    write_row(store, make_row(trial_id="t1", seed=1, status="stopped", reason="asha", curve=other))
    write_row(store, make_row(trial_id="t2", status="failed", reason="out of memory", final_loss=None, curve=()))
    write_row(store, make_row(trial_id="t3"))
    table = pq.read_table(store.local_path("rows/t3.parquet")).drop_columns(["num_parameters"])
    pq.write_table(table.replace_schema_metadata(None), store.local_path("rows/t3.parquet"))
    for name in ("t0", "t1"):
        write_score(store, Score(name, {"accuracy": 0.75}, 500, "{}"))
    aged(store)
    read_rows(store)
    read_scores(store)
    write_row_copies(store)
    fresh()
    return store


def counted(store: Store) -> tuple[dict[str, TrialRow], list[str]]:
    counting = Counting(store.uri)
    return read_rows(counting), counting.was_read


def slowly(store: Store) -> dict[str, TrialRow]:
    """Return the rows of the files alone."""
    fresh()
    store.delete(COPIES)
    return read_rows(store)


def test_copies_give_what_the_files_give_and_no_file_is_read(folder: Store) -> None:
    rows, was_read = counted(folder)
    assert was_read == [COPIES]
    assert rows == slowly(folder)
    assert list(rows) == ["t0", "t1", "t2", "t3"]
    assert [[list(epoch.terms) for epoch in row.curve] for row in rows.values()][1] == [["b", "a"], []]
    assert rows["t3"].num_parameters is None
    fresh()
    folder.delete(COPIES)
    assert list(read_rows(folder, ["t2", "t9", "t0"])) == ["t2", "t0"]
    assert list(read_rows(folder, ["t3", "t0", "t1"])) == ["t3", "t0", "t1"]
    assert read_scores(folder) == {name: Score(name, {"accuracy": 0.75}, 500, "{}") for name in ("t0", "t1")}


def test_what_is_not_finite_comes_back_from_copies(store: Store, make_row: MakeRow) -> None:
    write_row(store, make_row(status="diverged", curve=(Epoch(0, 0.1, math.inf, {"a": math.nan}, 1.0),)))
    aged(store)
    read_rows(store)
    write_row_copies(store)
    fresh()
    [epoch] = read_rows(store)["t0"].curve
    assert math.isinf(epoch.loss)
    assert math.isnan(epoch.terms["a"])


@pytest.mark.parametrize("known", [True, False], ids=["this process", "another"])
@pytest.mark.parametrize("change", ["changed", "damaged", "added", "removed", "another's"])
def test_what_happens_to_a_row_is_noticed(folder: Store, make_row: MakeRow, change: str, known: bool) -> None:
    path = folder.local_path("rows/t0.parquet")
    assert path is not None
    if known:
        read_rows(folder)
    content = path.read_bytes()
    if change == "changed":
        write_row(folder, make_row(final_loss=0.25))
    elif change == "damaged":
        path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    elif change == "another's":
        path.write_bytes((path.parent / "t1.parquet").read_bytes())
    elif change == "added":
        write_row(folder, make_row(trial_id="t4"))
    else:
        path.unlink()
    rows = read_rows(folder)
    assert rows == slowly(folder)
    assert rows.get("t0") == {"changed": make_row(final_loss=0.25), "added": make_row()}.get(change)
    assert ("t4" in rows) == (change == "added")


def test_a_row_that_is_written_twice_within_a_tick_is_noticed(store: Store, make_row: MakeRow) -> None:
    """Same size, same time: no listing tells them apart."""
    path = store.local_path("rows/t0.parquet")
    assert path is not None
    at, sizes = time.time_ns() + 10**9, set()  # young for as long as this test may take
    for loss in (0.5, 0.25):
        write_row(store, make_row(final_loss=loss))
        os.utime(path, ns=(at, at))
        sizes.add(path.stat().st_size)
        assert read_rows(store)["t0"].final_loss == loss
        write_row_copies(store)
    fresh()
    assert read_rows(store)["t0"].final_loss == 0.25
    assert len(sizes) == 1


@pytest.mark.parametrize("place", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_damaged_copies_are_no_copies(folder: Store, place: float) -> None:
    content = bytearray(folder.read(COPIES))
    content[int(place * len(content))] ^= 16
    folder.write(COPIES, bytes(content))
    rows, was_read = counted(folder)
    assert len(was_read) == 1 + 4
    assert rows == slowly(folder)


@pytest.mark.parametrize("content", [b"", b"ARROW1"])
def test_what_is_no_table_is_no_copy(folder: Store, content: bytes) -> None:
    folder.write(COPIES, content)
    assert counted(folder)[0] == slowly(folder)


def test_copies_of_scores_are_none_of_rows(folder: Store) -> None:
    folder.write(COPIES, folder.read("gathered/scores.arrow"))
    assert counted(folder)[0] == slowly(folder)


def test_copies_of_another_version_are_not_taken(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raysl, "__version__", "9.9")
    assert len(counted(folder)[1]) == 1 + 4


def test_copies_are_written_anew_when_much_is_missing_in_them(
    folder: Store, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.read(COPIES)
    read_rows(folder)
    write_row_copies(folder)
    assert folder.read(COPIES) == before
    write_row(folder, make_row(final_loss=0.25))
    write_row(folder, make_row(trial_id="t4"))
    aged(folder)
    monkeypatch.setattr(record_cache, "FEW", 20)
    read_rows(folder)
    write_row_copies(folder)
    assert folder.read(COPIES) == before
    monkeypatch.setattr(record_cache, "FEW", 0)
    write_row_copies(folder)
    last = Path(folder.address(COPIES)).stat()
    write_row_copies(folder)
    assert Path(folder.address(COPIES)).stat() == last
    fresh()
    rows, was_read = counted(folder)
    assert was_read == [COPIES]
    assert rows == slowly(folder)
    assert rows["t0"].final_loss == 0.25


def test_where_copies_cannot_be_written_there_are_none(store: Store, make_row: MakeRow) -> None:
    write_row(store, make_row())
    aged(store)
    store.write("gathered", b"a file")
    read_rows(store)
    write_row_copies(store)
    assert read_rows(store) == {"t0": make_row()}


def test_a_few_rows_are_read_without_the_copies_of_all(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_cache, "FEW", 1)
    counting = Counting(folder.uri)
    read_rows(counting, ["t1"])
    assert counting.was_read == ["rows/t1.parquet"]


def test_types_of_the_copies_are_those_of_rows(folder: Store) -> None:
    table = pa.ipc.open_file(pa.BufferReader(folder.read(COPIES))).read_all()
    own = pq.read_table(folder.local_path("rows/t0.parquet")).schema.names
    assert table.schema.names[: len(own)] == own
    assert len(table) == 4
