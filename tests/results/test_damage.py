"""Whatever happens to a file of a results folder, nothing else than what was written is read of it."""

import io
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysl.errors import ResultsError
from raysl.results.records.features import Features, read_features, write_features
from raysl.results.records.origins import Origin, read_origins, write_origin
from raysl.results.records.paper_tables import PaperTables, read_paper_tables, write_paper_tables
from raysl.results.records.proposals import Proposal, Told, read_proposals, write_proposal
from raysl.results.records.rows import Score, TrialRow, read_row, read_scores, write_row, write_score
from raysl.results.records.spending import Charge, Spending, SpendingRecords
from raysl.results.records.stages import (
    SelectionRecord,
    StageRecord,
    read_selections,
    read_stages,
    write_selection,
    write_stage,
)
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, publish, read

NUM_FLIPS = 150  # of each file, evenly over it


@pytest.fixture
def whole(
    store: Store,
    make_row: Callable[..., TrialRow],
    make_stage: Callable[..., StageRecord],
    make_selection: Callable[..., SelectionRecord],
    edited: Tables,
) -> Store:
    """A folder with two of everything."""
    arrays = np.arange(6, dtype=np.int64) % 2, np.arange(24, dtype=np.float32).reshape(6, 4)
    for place in range(2):
        write_row(store, make_row(trial_id=f"t{place}", seed=place))
        write_score(store, Score(f"t{place}", {"accuracy": 0.75 + place / 10}, 500, "{}"))
        write_stage(store, make_stage(stage_id=f"s{place}", stage=f"stage{place}"))
        write_selection(store, make_selection(stage_id=f"s{place}"))
        write_proposal(store, f"s{place}", 0, 1, Proposal({"lr": 0.5 + place}, (Told(0, "finished", (0.25,)),)))
        SpendingRecords(store, f"d{place}").write(Spending(1.0, 2.0 + place, (Charge(f"n{place}", 0.5, 1.0, 2.0),)))
        write_origin(store, Origin(f"{place}.yaml", "", ("seeds=2",), {f"{place}.yaml": "name: x"}), [f"s{place}"], 1.0)
        write_paper_tables(store, PaperTables(f"table{place}", "paper", "a paper", (), {"a/b/c": "s0"}, {}))
        write_features(store, Features(f"t{place}", ("a", "b"), "digits", arrays[0], arrays[0], arrays[1]))
    publish(store, edited)
    return store


def facts_of(features: Features) -> tuple[Any, ...]:
    arrays = (features.labels, features.predicted, features.features)
    return features.trial_id, features.class_names, features.source, *(array.tolist() for array in arrays)


ORIGINS = [Origin(f"{place}.yaml", "", ("seeds=2",), {f"{place}.yaml": "name: x"}).path for place in range(2)]
READERS: dict[str, tuple[str, Callable[[Store], Any]]] = {
    "rows/t0.parquet": ("rows/t1.parquet", lambda store: read_row(store, "t0")),
    "scores/t0.parquet": ("scores/t1.parquet", lambda store: read_scores(store, ["t0"]).get("t0")),
    "stages/s0.json": ("stages/s1.json", lambda store: [s for s in read_stages(store) if s.stage_id != "s1"] or None),
    "selections/s0.json": ("selections/s1.json", lambda store: read_selections(store).get("s0")),
    "proposals/s0/0.1.json": ("proposals/s1/0.1.json", lambda store: read_proposals(store, "s0") or None),
    "spending/d0.json": ("spending/d1.json", lambda store: SpendingRecords(store, "d1").others() or None),
    "tables/table0@paper.json": (
        "tables/table1@paper.json",
        lambda store: [t for t in read_paper_tables(store) if t.name != "table1"] or None,
    ),
    ORIGINS[0]: (ORIGINS[1], lambda store: read_origins(store).get("s0")),
    "features/t0.arrow": ("features/t1.arrow", lambda store: facts_of(read_features(store, "t0"))),
    "trials.arrow": ("curves.arrow", lambda store: read(store.uri).trials.to_pylist()),
}


def tried(store: Store, path: str) -> Any:
    """Return what is read of a file; None where it is refused with its name, or absent."""
    try:
        return READERS[path][1](store)
    except ResultsError as error:
        return None if store.address(path) in str(error) else str(error)


def harms(content: bytes, other: bytes) -> Iterator[tuple[str, bytes]]:
    yield from ((f"first {length} bytes", content[:length]) for length in (0, 1, 12, len(content) // 2))
    yield from ((f"without the last {length}", content[:-length]) for length in (1, 9))
    yield "of another", other
    for place in range(0, len(content), max(1, len(content) // NUM_FLIPS)):
        for bit in (1, 16):
            flipped = bytearray(content)
            flipped[place] ^= bit
            yield f"bit {bit} of byte {place} flipped", bytes(flipped)


@pytest.mark.parametrize("path", READERS)
def test_what_is_read_is_what_was_written_or_nothing(whole: Store, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A flipped bit may lie where it means nothing, as in the space between two values of a JSON file."""
    caplog.set_level(logging.CRITICAL)
    other, reader = READERS[path]
    content, expected = whole.read(path), reader(whole)
    assert expected is not None
    noticed = 0
    for harm, harmed in harms(content, whole.read(other)):
        Path(whole.address(path)).write_bytes(harmed)
        found = tried(whole, path)
        assert found is None or found == expected, harm
        noticed += found is None
    assert noticed > NUM_FLIPS / 2
    whole.write(path, content)
    assert reader(whole) == expected


def test_another_accuracy_in_a_valid_file_is_noticed(
    whole: Store, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for path, column in (("rows/t0.parquet", "probe_accuracy"), ("scores/t0.parquet", "test_accuracy")):
        table = pq.read_table(pa.BufferReader(whole.read(path)))
        place = table.schema.get_field_index(column)
        better = table.set_column(place, table.schema.field(place), pa.array([0.99]))
        pq.write_table(better, whole.local_path(path))
        with caplog.at_level(logging.WARNING):
            assert READERS[path][1](whole) is None
        assert f"{path} is damaged" in caplog.text


def test_records_and_tables_of_an_earlier_version_have_no_digest(
    whole: Store, edited: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {path: reader(whole) for path, (_, reader) in READERS.items()}
    for path in READERS:
        if path.endswith(".json"):
            facts = json.loads(whole.read(path))
            del facts["digest"]
            whole.write(path, json.dumps(facts.get("content", facts)).encode())
        elif path.endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(whole.read(path)))
            pq.write_table(table.replace_schema_metadata(None), whole.local_path(path))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, edited.trials.schema) as writer:
        writer.write_table(edited.trials)
    whole.write("trials.arrow", bytes(sink.getvalue()))
    assert {path: reader(whole) for path, (_, reader) in READERS.items()} == expected


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def explosive(table: pa.Table, bomb: bytes) -> pa.Table:
    """Return a table whose first column says that it is of a type that comes with a pickle."""
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": bomb}
    fields = [table.schema.field(0).with_metadata(metadata), *list(table.schema)[1:]]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


@pytest.mark.parametrize("path", [path for path in READERS if not path.endswith(".json")])
@pytest.mark.filterwarnings("ignore")
def test_a_pickle_in_a_file_is_not_executed(whole: Store, path: str, tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(executed))
    content = whole.read(path)
    if path.endswith(".parquet"):
        table = explosive(pq.read_table(pa.BufferReader(content)), bomb)
        sink = io.BytesIO()
        pq.write_table(table, sink)
        harmed = [sink.getvalue(), bomb]
    else:
        table = explosive(pa.ipc.open_file(pa.BufferReader(content)).read_all(), bomb)
        out = pa.BufferOutputStream()
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
        harmed = [bytes(out.getvalue()), bomb]
    for harm in harmed:
        whole.write(path, harm)
        tried(whole, path)
    assert not executed.exists()
