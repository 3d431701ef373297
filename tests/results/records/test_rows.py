import logging
import math
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysl.results.records.rows import Epoch, Score, TrialRow, read_row, read_rows, read_scores, write_row, write_score
from raysl.results.storage.store import Store

MakeRow = Callable[..., TrialRow]


def test_a_row_comes_back_to_the_last_bit(store: Store, make_row: MakeRow) -> None:
    row = make_row()
    write_row(store, row)
    assert read_row(store, "t0") == row
    assert read_row(store, "t9") is None


def test_the_order_of_the_loss_terms_stays(store: Store, make_row: MakeRow) -> None:
    write_row(store, make_row(curve=(Epoch(0, 0.1, 1.0, {"b": 1.0, "a": 2.0}, 1.0),)))
    row = read_row(store, "t0")
    assert row is not None
    assert list(row.curve[0].terms) == ["b", "a"]


def test_a_diverged_row_keeps_what_is_not_finite(store: Store, make_row: MakeRow) -> None:
    curve = (Epoch(0, 0.1, math.inf, {"a": math.nan}, 1.0),)
    write_row(store, make_row(status="diverged", final_loss=None, probe={}, curve=curve))
    row = read_row(store, "t0")
    assert row is not None
    assert row.final_loss is None
    assert math.isinf(row.curve[0].loss)
    assert math.isnan(row.curve[0].terms["a"])


def test_a_trial_that_failed_at_once_has_no_curve(store: Store, make_row: MakeRow) -> None:
    row = make_row(status="failed", reason="out of memory", final_loss=None, probe={}, epochs=0, curve=())
    write_row(store, row)
    assert read_row(store, "t0") == row


@pytest.mark.parametrize("damage", ["truncated", "altered", "other"])
def test_a_damaged_row_is_absent_and_named(
    store: Store, make_row: MakeRow, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    write_row(store, make_row())
    write_row(store, make_row(trial_id="t1"))
    content = store.read("rows/t0.parquet")
    place = content.index(b"cpu")  # a value, which any reader would take as it is
    damaged = {
        "truncated": content[: len(content) // 2],
        "altered": content[:place] + b"gpu" + content[place + 3 :],
        "other": store.read("rows/t1.parquet"),
    }
    store.write("rows/t0.parquet", damaged[damage])
    with caplog.at_level(logging.WARNING):
        assert list(read_rows(store)) == ["t1"]
        assert list(read_rows(store)) == ["t1"]
    (record,) = caplog.records  # once, however often it is read
    assert store.address("rows/t0.parquet") in record.getMessage()


def without(store: Store, path: str, column: str) -> None:
    """Rewrite a file as a version that did not know a column would have written it."""
    sink = pa.BufferOutputStream()
    table = pq.read_table(pa.BufferReader(store.read(path))).drop_columns([column])
    pq.write_table(table.replace_schema_metadata(None), sink)  # nor the digest
    store.write(path, bytes(sink.getvalue()))


def test_a_row_of_an_earlier_version_stays_a_row(store: Store, make_row: MakeRow) -> None:
    write_row(store, make_row())
    without(store, "rows/t0.parquet", "num_parameters")
    assert read_row(store, "t0") == make_row(num_parameters=None)
    write_score(store, Score("t0", {"accuracy": 0.95}, 500, "{}"))
    without(store, "scores/t0.parquet", "probe")
    assert read_scores(store)["t0"].metrics["accuracy"] == 0.95


def test_a_row_without_what_the_tables_need_is_damaged(
    store: Store, make_row: MakeRow, caplog: pytest.LogCaptureFixture
) -> None:
    write_row(store, make_row())
    without(store, "rows/t0.parquet", "seconds")
    assert read_row(store, "t0") is None
    assert "lacks seconds" in caplog.text


def test_rows_come_in_the_order_asked_for(store: Store, make_row: MakeRow) -> None:
    for name in ("t0", "t1", "t2"):
        write_row(store, make_row(trial_id=name))
    assert list(read_rows(store)) == ["t0", "t1", "t2"]
    assert list(read_rows(store, ["t2", "t9", "t0", "t2"])) == ["t2", "t0"]
    assert read_rows(store, []) == {}


def test_scores_are_kept_apart_from_rows(store: Store, make_row: MakeRow) -> None:
    write_row(store, make_row())
    score = Score("t0", {"accuracy": 0.95}, 500, '{"C": 1.0}')
    write_score(store, score)
    assert read_scores(store) == {"t0": score}
    assert store.list("scores", ".parquet") == ["t0.parquet"]
    assert b"0.95" not in store.read("rows/t0.parquet")
    assert "test_accuracy" not in TrialRow.__annotations__


FORGED = {
    "status": pa.array([1]),
    "final_loss": pa.array(["0.1"]),
    "seed": pa.array([0.5]),
    "reason": pa.array([b"\xff"]),
    "started_at": pa.array([1e300]),
    "finished_at": pa.array([math.nan]),
    "seconds": pa.array([None], pa.float64()),
    "probe_accuracy": pa.array([math.inf]),
    "curve": pa.array([[1, 2]]),
    "spec": pa.array([True]),
}


@pytest.mark.parametrize("column", FORGED)
def test_a_row_of_which_no_table_can_be_made_is_absent_and_named(
    store: Store, make_row: MakeRow, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    """It has no digest, as those of an earlier version."""
    write_row(store, make_row())
    path = store.local_path("rows/t0.parquet")
    table = pq.read_table(path).replace_schema_metadata(None)
    pq.write_table(table, path)
    assert read_row(store, "t0") == make_row()
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, FORGED[column]), path)
    with caplog.at_level(logging.WARNING):
        assert read_row(store, "t0") is None
    assert "rows/t0.parquet is damaged and treated as absent" in caplog.text


def test_a_score_that_is_no_number_is_absent(store: Store) -> None:
    for accuracy in (math.nan, math.inf):
        write_score(store, Score("t0", {"accuracy": accuracy}, 10, "{}"))
        assert read_scores(store) == {}
