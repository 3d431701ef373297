"""Who writes which cell of a table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysl.api.search_request import SearchRequest, read_request
from raysl.results.records.paper_tables import read_paper_tables
from raysl.results.storage.store import Store

FILE = Path(__file__).parents[2] / "search_spaces" / "tables" / "cavallari2022_table1.yaml"


def all_stages(wanted: SearchRequest) -> dict[tuple[int, str], str | None]:
    return {(index, stage): f"s{index}-{stage}" for index, cells in enumerate(wanted.cells) for stage in cells.values()}


def test_a_profile_that_nobody_asked_for_is_said() -> None:
    note = read_request(FILE, None, [], []).note
    assert note.endswith(
        "table1.yaml: profile laptop, for no --profile is given; others: --profile paper (the paper's protocol)"
    )
    assert read_request(FILE, "laptop", [], []).note == ""
    assert read_request(FILE.parent / "sidae_figure7.yaml", None, [], []).note == ""  # it has one alone
    assert read_request(FILE.parents[1] / "rotation.yaml", None, [], []).note == ""


def test_two_searches_of_a_tables_cells_keep_each_others(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "results"), create=True)
    turns: list[str] = []

    @contextmanager
    def turn() -> Iterator[None]:
        turns.append("in")
        yield
        turns.append("out")

    whole = read_request(FILE, "laptop", [], [])
    keys = sorted(key for cells in whole.cells for key in cells)
    parts = [read_request(FILE, "laptop", [], [key]) for key in (keys[0], keys[-1])]
    recorders = [wanted.recorder(store, turn) for wanted in parts]
    for record in recorders:
        record({})
    for record, wanted in zip(recorders, parts, strict=True):
        record(all_stages(wanted))
        record(all_stages(wanted))
    [tables] = read_paper_tables(store)
    assert set(tables.stages) == {keys[0], keys[-1]}
    assert turns == ["in", "out"] * 4  # of what is new alone
