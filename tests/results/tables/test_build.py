import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raysl
from raysl.errors import ResultsError
from raysl.results.records.rows import Epoch, Score, TrialRow
from raysl.results.records.stages import Ineligible, Member, SelectionRecord, StageRecord
from raysl.results.schema import SCHEMAS
from raysl.results.storage.store import Store
from raysl.results.tables.build import ConfigSummary, Tables, build, publish, read

MakeRow = Callable[..., TrialRow]
MakeStage = Callable[..., StageRecord]
MakeSelection = Callable[..., SelectionRecord]


def summary(config_id: str, **changes: object) -> ConfigSummary:
    facts = {"stage_id": "s0", "num_seeds": 2, "num_finished": 2, "eligible": True, "reason": ""}
    return ConfigSummary(config_id=config_id, **{"means": {}, "stds": {}} | facts | changes)  # type: ignore[arg-type]


@pytest.fixture
def tables(make_row: MakeRow, make_stage: MakeStage, make_selection: MakeSelection) -> Tables:
    rows = {name: make_row(trial_id=name, seed=seed) for name, seed in (("t0", 0), ("t1", 1), ("t2", 0))}
    selection = make_selection(ineligible=(Ineligible("c1", "seed 1 has not finished"),))
    scores = {"t0": Score("t0", {"accuracy": 0.75}, 500, "{}")}
    summaries = [
        summary("c1", num_finished=1, eligible=False),
        summary("c0", means={"final_loss": 0.5}, stds={"final_loss": 0.1}),
    ]
    return build([make_stage()], rows, scores, summaries, {"s0": selection})


def test_every_member_is_in_the_trials_table(tables: Tables) -> None:
    trials = tables.trials.to_pylist()
    assert [(trial["trial_id"], trial["status"]) for trial in trials] == [
        ("t0", "finished"),
        ("t1", "finished"),
        ("t2", "finished"),
        ("t3", "pending"),
    ]
    assert [trial["selected"] for trial in trials] == [True, True, False, False]
    assert [trial["test_accuracy"] for trial in trials] == [0.75, None, None, None]
    assert [trial["params.optimizer.lr"] for trial in trials] == [0.01, 0.01, 0.001, 0.001]
    assert trials[0]["final_loss"] == 0.1 + 0.2
    assert trials[0]["started_at"].isoformat() == "2023-11-14T22:13:20.125000+00:00"
    assert trials[3]["final_loss"] is None


def test_curves_are_long_with_the_total_first(tables: Tables) -> None:
    curve = [row for row in tables.curves.to_pylist() if row["trial_id"] == "t0"]
    assert [(row["epoch"], row["term"], row["value"]) for row in curve] == [
        (0, "total", 2.5),
        (0, "supervised", 2.0),
        (0, "rotation", 0.5),
        (1, "total", 1.25),
        (1, "supervised", 1.0),
        (1, "rotation", 0.25),
    ]
    assert {(row["lr"], row["seconds"]) for row in curve} == {(0.01, 1.5), (0.005, 2.0)}
    assert tables.curves.num_rows == 18


def test_curves_have_the_terms_of_every_method(make_row: MakeRow, make_stage: MakeStage) -> None:
    terms = {"supervised": 2.25, "on_diagonal": 2048.0, "off_diagonal": 4096.5}
    rows = {"t0": make_row(curve=(Epoch(0, 0.01, 2071.2, terms, 1.5),))}
    curve = build([make_stage()], rows, {}, [], {}).curves.to_pylist()
    assert {row["term"]: row["value"] for row in curve} == {"total": 2071.2} | terms


def test_configs_come_in_the_order_of_the_search(tables: Tables) -> None:
    configs = tables.configs.to_pylist()
    assert [config["config_id"] for config in configs] == ["c0", "c1"]
    assert [config["selected"] for config in configs] == [True, False]
    assert configs[0]["final_loss_std"] == 0.1
    assert configs[1]["params.optimizer.lr"] == 0.001


def test_the_front_of_the_objectives_is_in_the_configs_table(store: Store, make_stage: MakeStage) -> None:
    weighed = make_stage(objectives=("probe_accuracy", "seconds"))
    plain = make_stage(stage_id="s1", stage="other")
    found = [summary("c0", pareto=True), summary("c1", pareto=False), summary("c0", stage_id="s1")]
    publish(store, build([weighed, plain], {}, {}, found, {}))
    configs = read(store.uri).configs.to_pylist()
    assert [(row["stage_id"], row["config_id"], row["pareto"]) for row in configs] == [
        ("s0", "c0", True),
        ("s0", "c1", False),
        ("s1", "c0", None),
    ]
    assert [row["objectives"] for row in configs] == [["probe_accuracy", "seconds"]] * 2 + [None]


def test_the_selection_says_whom_it_left_out(tables: Tables) -> None:
    (selection,) = tables.selections.to_pylist()
    assert (selection["num_configs"], selection["num_eligible"]) == (2, 1)
    assert selection["ineligible"] == [{"config_id": "c1", "reason": "seed 1 has not finished"}]
    assert json.loads(selection["params"]) == {"optimizer.lr": 0.01}
    assert selection["trial_ids"] == ["t0", "t1"]


def test_the_order_of_members_and_rows_does_not_matter_within_a_config(
    tables: Tables, make_row: MakeRow, make_stage: MakeStage
) -> None:
    members = make_stage().members
    stage = make_stage(members=(members[1], members[0], *members[2:]))
    rows = {name: make_row(trial_id=name, seed=seed) for name, seed in (("t2", 0), ("t1", 1), ("t0", 0))}
    again = build([stage], rows, {}, [], {})
    assert again.trials["trial_id"].to_pylist() == ["t0", "t1", "t2", "t3"]
    assert again.curves.equals(tables.curves)


def test_searched_keys_of_all_stages_get_a_column(make_stage: MakeStage) -> None:
    first = make_stage()
    mixed = (Member("u0", "d0", 0, {"method.head": "linear", "epochs": 5}), Member("u1", "d1", 0, {"method.head": 3}))
    second = make_stage(stage="fine", stage_id="s1", searched=("method.head", "epochs", "nesterov"), members=mixed)
    flag = make_stage(stage_id="s2", searched=("nesterov",), members=(Member("v0", "e0", 0, {"nesterov": True}),))
    trials = build([first, second, flag], {}, {}, [], {}).trials
    assert trials.schema.field("params.epochs").type == pa.float64()
    assert trials["params.epochs"].to_pylist() == [None] * 4 + [5.0, None, None]
    assert trials["params.method.head"].to_pylist() == [None] * 4 + ["linear", "3", None]
    assert trials["params.nesterov"].to_pylist() == [None] * 6 + ["true"]


def test_a_superseded_stage_is_marked_in_every_table(edited: Tables) -> None:
    for name in SCHEMAS:
        table = getattr(edited, name).to_pylist()
        assert {(row["stage_id"], row["current"]) for row in table} == {("s0", False), ("s1", True), ("s2", True)}
        assert {row["stage_id"] for row in getattr(edited.current(), name).to_pylist()} == {"s1", "s2"}


def test_searches_on_other_data_settings_can_be_told_apart(edited: Tables) -> None:
    for table in (edited.configs, edited.selections):
        data = {row["stage_id"]: json.loads(row["data"]) for row in table.to_pylist()}
        assert data["s1"] == {"source": "digits", "labels": 50, "unlabelled": 1297, "image_size": 8}
        assert data["s2"] == data["s1"] | {"labels": 100}


def test_tables_that_cannot_tell_what_is_current_stay_whole(store: Store, edited: Tables) -> None:
    older = {name: getattr(edited, name).drop_columns(["current"]) for name in SCHEMAS}
    publish(store, Tables(**older))
    assert read(store.uri).current().configs.num_rows == edited.configs.num_rows


def test_published_tables_are_read_back_with_their_metadata(store: Store, tables: Tables) -> None:
    publish(store, tables)
    back = raysl.read(store.uri)
    for name, schema in SCHEMAS.items():
        table = getattr(back, name)
        assert table.equals(getattr(tables, name), check_metadata=True)
        assert table.schema.metadata == schema.metadata
        parquet = pq.read_table(pa.BufferReader(store.read(f"{name}.parquet")))
        assert parquet.equals(table)
        assert parquet.schema.metadata[b"raysl.schema_version"] == b"1"
    assert back.trials.schema.field("seconds").metadata[b"unit"] == b"s"
    assert all(b"description" in field.metadata for field in back.trials.schema)


def test_publishing_the_same_again_touches_nothing(store: Store, tables: Tables) -> None:
    publish(store, tables)
    folder = store.local_path("")
    assert folder is not None
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    changed = Tables(tables.trials.slice(1), tables.curves, tables.configs, tables.selections)
    publish(store, changed)
    assert {path.name for path in folder.iterdir() if path.stat().st_mtime != 1} == {"trials.arrow", "trials.parquet"}


def test_columns_that_an_older_writer_did_not_know_come_as_nulls(store: Store, tables: Tables) -> None:
    older = tables.trials.drop_columns(["test_accuracy", "workers"])
    configs = tables.configs.drop_columns(["pareto", "objectives"])
    publish(store, Tables(older, tables.curves, configs, tables.selections))
    assert read(store.uri).configs["pareto"].to_pylist() == [None] * 2
    trials = read(store.uri).trials
    assert trials.column_names == tables.trials.column_names
    assert trials["workers"].to_pylist() == [None] * 4
    assert trials["workers"].type == pa.int64()


def test_a_folder_without_tables_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=rf"{tmp_path}/trials.arrow: no such table"):
        read(str(tmp_path))
    with pytest.raises(ResultsError, match="absent: no such folder"):
        read(str(tmp_path / "absent"))


def test_damaged_and_later_tables_are_named(store: Store, tables: Tables) -> None:
    publish(store, tables)
    content = store.read("curves.arrow")
    store.write("curves.arrow", content[:100])
    with pytest.raises(ResultsError, match=r"curves.arrow: damaged"):
        read(store.uri)
    later = tables.curves.replace_schema_metadata({"raysl.schema_version": "2"})
    publish(store, Tables(tables.trials, later, tables.configs, tables.selections))
    with pytest.raises(ResultsError, match="schema version '2'; this raysl reads '1'"):
        read(store.uri)


def test_an_empty_search_has_all_tables(store: Store) -> None:
    publish(store, build([], {}, {}, [], {}))
    assert [getattr(read(store.uri), name).num_rows for name in SCHEMAS] == [0, 0, 0, 0]
