"""Tables that are taken as they are, and those that are made of the whole folder: the same."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from raysl.errors import ResultsError
from raysl.results.records import record_cache
from raysl.results.records.rows import Epoch, Score, TrialRow, read_rows, read_scores, write_row, write_score
from raysl.results.records.stages import (
    Member,
    StageRecord,
    read_selections,
    read_stages,
    write_selection,
    write_stage,
)
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, build, read
from raysl.search import summary
from raysl.search.config_means import summarise
from raysl.search.selection import select
from raysl.search.summary import curves_of, publish_store, summarise_store

SETTINGS = {"source": "digits", "labels": 50, "unlabelled": 1297, "image_size": None, "digest": "d0"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copy also a few rows."""
    monkeypatch.setattr(record_cache, "FEW", 0)
    monkeypatch.setattr(record_cache, "SHARE", 0.0)
    fresh()
    yield
    fresh()


def fresh() -> None:
    record_cache._gathered.cache_clear()
    summary._last.clear()


def row_of(member: Member, **changes: object) -> TrialRow:
    loss = member.params["optimizer.lr"] + member.seed / 10  # type: ignore[operator]
    curve = (Epoch(0, 0.1, 2 * loss, {"b": loss, "a": loss}, 1.5), Epoch(1, 0.1, loss, {"b": loss}, 1.0))
    row = TrialRow(
        member.trial_id, "finished", "", "semi", member.seed, loss, {"accuracy": 0.5}, 2, 1000, 3.5, 1.7e9,
        1.7e9 + 4, 1, "cpu", "0.1.0", "2.15.0", '{"epochs": 2}', curve,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def stage_of(stage_id: str = "s0", lrs: tuple[float, ...] = (0.5, 0.25), created_at: float = 1.0) -> StageRecord:
    members = tuple(Member(f"t{c}{s}", f"c{c}", s, {"optimizer.lr": lr}) for c, lr in enumerate(lrs) for s in range(2))
    return StageRecord(
        "rotation_semi", "", "semi", stage_id, "train_loss", 0, SETTINGS, ("optimizer.lr",), members, created_at,
        {"backbone": "small_resnet"},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A folder whose tables are published, and which nobody has touched since."""
    store = Store.open(str(tmp_path / "results"), create=True)
    stage = write_stage(store, stage_of())
    for member in stage.members:
        write_row(store, row_of(member))
    selection = write_selection(store, select(stage, read_rows(store), 5.0))
    for trial_id in selection.trial_ids:
        write_score(store, Score(trial_id, {"accuracy": 0.75}, 500, "{}"))
    settle(store)
    publish_store(store)
    fresh()
    return store


def settle(store: Store) -> None:
    """Let what was written be some seconds old, as it is when a search comes back."""
    at = time.time_ns() - 10 * 10**9
    for path in Path(store.uri).rglob("*.*"):
        if path.stat().st_mtime_ns > at:
            os.utime(path, ns=(path.stat().st_mtime_ns - 10 * 10**9,) * 2)


def slowly(store: Store) -> Tables:
    """Return the tables of the small files alone."""
    fresh()
    for kind in ("rows", "scores"):
        store.delete(f"gathered/{kind}.arrow")
    stages, rows, scores = read_stages(store), read_rows(store), read_scores(store)
    configs = [one for stage in stages for one in summarise(stage, rows, scores)]
    return build(stages, rows, scores, configs, read_selections(store))


def assert_same(left: Tables, right: Tables) -> None:
    for field in fields(left):
        assert getattr(left, field.name).equals(getattr(right, field.name)), field.name


def change_row(store: Store) -> None:
    write_row(store, row_of(stage_of().members[0], final_loss=0.125))


def change_selection(store: Store) -> None:
    write_selection(store, replace(read_selections(store)["s0"], config_id="c0"))


def damage_row(store: Store) -> None:
    Path(store.address("rows/t00.parquet")).write_bytes(b"PAR1")


CHANGES: dict[str, Callable[[Store], object]] = {
    "a row changed": change_row,
    "a row damaged": damage_row,
    "a row added": lambda store: (write_stage(store, stage_of("s1", (0.5, 0.25, 0.1), 2.0)),
                                  write_row(store, row_of(stage_of("s1", (0.5, 0.25, 0.1)).members[4]))),
    "a row removed": lambda store: store.delete("rows/t01.parquet"),
    "a score added": lambda store: write_score(store, Score("t00", {"accuracy": 0.25}, 500, "{}")),
    "a score changed": lambda store: write_score(store, Score("t10", {"accuracy": 0.25}, 500, "{}")),
    "a stage added": lambda store: write_stage(store, stage_of("s1", created_at=2.0)),
    "another selected": change_selection,
    "no selection": lambda store: store.delete("selections/s0.json"),
}  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["this process", "another"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_published(store: Store, change: str, known: bool) -> None:
    before = read(store.uri)
    if known:
        summarise_store(store, curves=False)
    CHANGES[change](store)
    shown = summarise_store(store, curves=False)
    publish_store(store)
    expected = slowly(store)
    assert any(not getattr(before, field.name).equals(getattr(expected, field.name)) for field in fields(before))
    assert_same(read(store.uri), expected)
    assert_same(replace(shown, curves=expected.curves), expected)
    assert shown.curves.num_rows == 0


def stamps(store: Store) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path(store.uri).glob("*.*")}


def test_what_is_published_is_not_made_again(store: Store) -> None:
    assert_same(read(store.uri), slowly(store))
    fresh()
    before = stamps(store)
    publish_store(store)
    assert stamps(store) == before
    assert summary._last == {}  # no table was made


@pytest.mark.parametrize("harm", ["damaged", "removed", "another's"])
@pytest.mark.parametrize("name", ["trials.arrow", "curves.parquet"])
def test_a_table_that_is_not_as_it_was_published_is_written_anew(store: Store, name: str, harm: str) -> None:
    path, expected = Path(store.address(name)), store.read(name)
    if harm == "damaged":
        path.write_bytes(expected[:200] + b"?" + expected[201:])
    elif harm == "removed":
        path.unlink()
    else:
        path.write_bytes((path.parent / "configs.arrow").read_bytes())
    publish_store(store)
    assert store.read(name) == expected


def test_a_table_that_was_damaged_without_a_trace_is_written_anew_once_it_is_deleted(store: Store) -> None:
    path, expected = Path(store.address("trials.arrow")), store.read("trials.arrow")
    written = path.stat().st_mtime_ns
    path.write_bytes(expected[:200] + b"?" + expected[201:])
    os.utime(path, ns=(written, written))
    publish_store(store)
    with pytest.raises(ResultsError, match=r"trials\.arrow: damaged .* delete it, and the search's command"):
        read(store.uri)
    path.unlink()
    publish_store(store)
    assert store.read("trials.arrow") == expected


def test_a_folder_of_the_version_before_is_read_and_published(store: Store) -> None:
    expected = read(store.uri)
    for name in ("published.json", "gathered/rows.arrow", "gathered/scores.arrow"):
        store.delete(name)
    before = stamps(store)
    publish_store(store)
    assert_same(read(store.uri), expected)
    after = stamps(store)
    assert {name: after[name] for name in before} == before  # the same to the last byte
    assert after.keys() - before.keys() == {"published.json"}


def test_damaged_notes_are_no_notes(store: Store) -> None:
    CHANGES["a row changed"](store)
    store.write("published.json", store.read("published.json")[:-30])
    publish_store(store)
    assert_same(read(store.uri), slowly(store))


def test_what_is_too_young_to_be_told_from_its_successor_is_not_noted(store: Store) -> None:
    ahead = time.time_ns() + 3600 * 10**9
    store.delete("published.json")
    for loss in (0.125, 0.75):
        write_row(store, row_of(stage_of().members[0], final_loss=loss))
        os.utime(store.address("rows/t00.parquet"), ns=(ahead, ahead))
        shown = summarise_store(store, curves=False)
        assert shown.trials["final_loss"][0].as_py() == loss
        publish_store(store)
        assert not store.exists("published.json")
    assert_same(read(store.uri), slowly(store))


def test_one_trials_curves_are_its_part_of_all(store: Store) -> None:
    write_stage(store, stage_of("s1", created_at=2.0))
    whole = summarise_store(store).curves.to_pylist()
    for stage_id in ("s0", "s1"):
        part = curves_of(store, stage_id, "t01").drop_columns(["current"]).to_pylist()
        own = [row for row in whole if (row["stage_id"], row["trial_id"]) == (stage_id, "t01")]
        assert part == [{key: value for key, value in row.items() if key != "current"} for row in own]
        assert len(part) == 5
    store.delete("rows/t01.parquet")
    assert curves_of(store, "s0", "t01").num_rows == 0


def test_unreadable_tables_are_an_error_of_the_reader_alone(store: Store) -> None:
    Path(store.address("configs.arrow")).write_bytes(b"")
    with pytest.raises(ResultsError, match=r"configs.arrow: damaged"):
        read(store.uri)
    publish_store(store)
    assert_same(read(store.uri), slowly(store))
