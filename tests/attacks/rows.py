"""Results folders of which a file was changed, by accident or on purpose."""

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

import raysl
from raysl.console import paper_table
from raysl.console.report import FORMATS, show
from raysl.console.screen import Screen
from raysl.errors import UserError
from raysl.results.records.paper_tables import Cell, PaperTable, PaperTables, read_paper_tables, write_paper_tables
from raysl.results.records.rows import Epoch, Score, TrialRow, read_rows, write_row, write_score
from raysl.results.records.stages import Member, StageRecord, write_selection, write_stage
from raysl.results.storage.checksums import arrow_file
from raysl.results.storage.store import Store
from raysl.results.tables.comparison import compare, long_form
from raysl.search.selection import select
from raysl.search.summary import publish_store, summarise_store

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63 - 1, 2**64, 1e308, 0.5, "", "x", "\x1b[31m[red]\u202e", "9" * 5000, [], [None], {},
    {"a": []}, [[[[1]]]], float("nan"), float("inf"), 10**400,
)  # fmt: skip
ARRAYS: tuple[Callable[[int], pa.Array], ...] = (
    lambda n: pa.nulls(n),
    lambda n: pa.array([b"\xff\x00"] * n),
    lambda n: pa.array(["\x1b[31m"] * n),
    lambda n: pa.array([float("nan")] * n),
    lambda n: pa.array([2**62] * n),
    lambda n: pa.array([[1, 2]] * n),
    lambda n: pa.array([{"a": 1}] * n),
    lambda n: pa.array([None] * n, pa.float64()),
    lambda n: pa.array([None] * n, pa.string()),
    lambda n: pa.array([True] * n),
    lambda n: pa.array([1e300] * n),
)  # fmt: skip
# Arrow once unpickled what stands in the metadata of a column of this kind.
BOMB = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": b"cbuiltins\nexit\n(tR."}


class Case(NamedTuple):
    """A change of one file: the file's place in the sorted list of them, and the seed of what is done to it."""

    place: int
    seed: int


def write_folder(folder: Path) -> None:
    """Write the results folder of a small search: two stages of two configs and two seeds, and a paper's table."""
    store = Store.open(str(folder), create=True)
    for place, name in enumerate(("semi", "finetune")):
        members = tuple(Member(f"t{place}{i}", f"c{place}{i // 2}", i % 2, {"lr": 0.1 * (i // 2)}) for i in range(4))
        data = {"source": "digits", "labels": 40, "unlabelled": 9, "image_size": 8, "attack": {"name": "one_pixel"}}
        stage_id, weighed = f"s{place}", ("probe_accuracy", "seconds") if place else ()
        record = StageRecord(
            "tiny", "", name, stage_id, "train_loss", place, data, ("lr",), members, 1.0, {"backbone": "b"}, "", weighed
        )
        write_stage(store, record)
        for member in members:
            write_row(store, _row(member))
            write_score(store, Score(member.trial_id, {"accuracy": 0.5}, 9, "{}"))
        write_selection(store, select(record, read_rows(store), 2.0))
    cell = Cell("t/r/c", "r", "c", (50.0, 1.0), "tiny.yaml", "", ("a=1",), "finetune", "d")
    tables = (PaperTable("t", "Table", {"r": "row"}, {"c": "column"}, (cell,)),)
    write_paper_tables(store, PaperTables("paper", "p", "A paper", tables, {"t/r/c": "s1"}, {}))
    publish_store(store)


def _row(member: Member) -> TrialRow:
    curve = tuple(Epoch(epoch, 0.1, 0.5, {"supervised": 0.5}, 1.0) for epoch in range(2))
    spec = json.dumps({"start": "t00", "probe": "knn"})
    return TrialRow(
        member.trial_id, "finished", "", "semi", member.seed, 0.5 + len(member.config_id),
        {"accuracy": 0.5}, 2, 9, 2.0, 1.0, 4.0, 1, "cpu", "0.1.0", "2.15.0", spec, curve,
    )  # fmt: skip


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield so many cases, the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        yield Case(draw.randrange(10**6), draw.randrange(2**32))


def run(folder: Path, scratch: Path, case: Case) -> str:
    """Change a copy of a results folder and read it as raysl does; return `read` or `refused`, or what is at fault.

    scratch: where the copy is made; it is not there before, nor afterwards.
    """
    shutil.copytree(folder, scratch)
    files = sorted(path for path in scratch.rglob("*") if path.suffix in (".parquet", ".json", ".arrow"))
    path = files[case.place % len(files)]
    changed = f"{path.relative_to(scratch)}, {case}"
    try:
        _change(path, random.Random(case.seed))
        return _read(scratch)
    except Exception as error:  # whatever it is, it is at fault
        return f"fault: {changed}: {type(error).__name__}: {error}"
    finally:
        shutil.rmtree(scratch)


def _change(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    if path.suffix == ".json" and draw.random() < 0.7:
        path.write_bytes(_other_json(content, draw))
    elif path.suffix == ".parquet" and draw.random() < 0.5:
        table = _other_table(pq.read_table(path), draw)
        sink = io.BytesIO()
        pq.write_table(table, sink)
        path.write_bytes(sink.getvalue())
    elif path.suffix == ".arrow" and draw.random() < 0.5:
        with pa.ipc.open_file(path) as file:
            table = file.read_all()
        path.write_bytes(b"".join(arrow_file(_other_table(table, draw))))
    else:
        path.write_bytes(_other_bytes(content, draw))


def _other_bytes(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    start = draw.randrange(len(changed) or 1)
    end = min(len(changed), start + draw.choice((1, 1, 4, 64, 4096)))
    match draw.randrange(5):
        case 0:
            changed[start:end] = draw.randbytes(end - start)
        case 1:
            del changed[start:end]
        case 2:
            changed[start:start] = draw.randbytes(16)
        case 3:
            changed[start:] = b""
        case _:
            changed[start:end] = bytes(end - start)
    return bytes(changed)


def _other_json(content: bytes, draw: random.Random) -> bytes:
    """Return a record without its digest, as an earlier version wrote them, with something else in some place."""
    record = json.loads(content)
    record.pop("digest", None)
    if draw.random() < 0.05:
        return b"[" * 100_000
    owner, key = draw.choice(list(_places(record)) or [({"": record}, "")])
    if draw.random() < 0.2:
        del owner[key]
    else:
        owner[key] = draw.choice(VALUES)
    return json.dumps(record).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _other_table(table: pa.Table, draw: random.Random) -> pa.Table:
    """Return a table, without its digest, with a column that holds something else or is not there."""
    table = table.replace_schema_metadata(
        {k: v for k, v in (table.schema.metadata or {}).items() if k != b"raysl.digest"}
    )
    place = draw.randrange(table.num_columns)
    name = table.column_names[place]
    if draw.random() < 0.15:
        return table.drop_columns([name])
    if draw.random() < 0.1:
        return pa.concat_tables([table, table]) if draw.random() < 0.5 else table.slice(0, 0)
    array = draw.choice(ARRAYS)(len(table))
    return table.set_column(place, pa.field(name, array.type, metadata=BOMB if draw.random() < 0.2 else None), array)


def _read(folder: Path) -> str:
    outcome = "read"
    for read in (lambda: raysl.read(str(folder)), lambda: _shown(folder)):
        try:
            read()
        except UserError:
            outcome = "refused"
    return outcome


def _shown(folder: Path) -> None:
    store = Store.open(str(folder), create=False)
    tables = summarise_store(store)
    for form in FORMATS:
        printed = io.StringIO()
        show(tables, str(folder), form, Screen(printed, width=160))
        assert "\x1b" not in printed.getvalue()
    for paper in read_paper_tables(store):
        compared = compare(paper, tables)
        paper_table.show_text(paper, compared, Screen(io.StringIO()))
        for draw in (paper_table.markdown, paper_table.latex, long_form):
            draw(paper, compared)
