"""Who writes which cell of a table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from tiny import EXPERIMENT

import raysl
from raysl.api.loading import as_request
from raysl.api.search_request import SearchRequest, read_request
from raysl.config.packaged import packaged_files
from raysl.results.records.origins import Origin, read_origins
from raysl.results.records.paper_tables import read_paper_tables
from raysl.results.storage.store import Store
from raysl.search.trials import experiment_digest

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


def origin_of(request: SearchRequest, store: Store) -> Origin:
    """Return what is recorded of a request once it has a stage."""
    record = request.recorder(store)
    record({(0, "one"): None})
    assert read_origins(store) == {}
    record({(0, "one"): None, (0, "two"): "s2"})
    return read_origins(store)["s2"]


def test_a_packaged_experiment_is_recorded_by_its_name(tmp_path: Path) -> None:
    file = packaged_files()["rotation_semi"]
    found = origin_of(read_request(file, "malaria", ["seeds=2"], ()), Store.open(str(tmp_path), create=True))
    assert (found.file, found.profile, found.overrides) == ("rotation_semi", "malaria", ("seeds=2",))
    assert found.texts == {"rotation_semi": file.read_text()}
    raysl.load(found.file, found.profile, found.overrides)


def test_a_table_is_recorded_with_the_experiments_that_it_names(tmp_path: Path) -> None:
    file = packaged_files()["tables/sidae_figure4"]
    request = read_request(file, None, ["seeds=2"], ["*/sidae/w0"])
    found = origin_of(request, Store.open(str(tmp_path), create=True))
    assert (found.file, found.cells, found.overrides) == ("tables/sidae_figure4", ("*/sidae/w0",), ("seeds=2",))
    assert found.texts == {name: packaged_files()[name].read_text() for name in ("tables/sidae_figure4", "sidae")}


def test_a_dict_is_recorded_as_yaml_that_loads_as_the_same(tmp_path: Path) -> None:
    values = yaml.safe_load(EXPERIMENT)
    given = raysl.load(values, overrides={"seeds": 3, "stages.semi.optimizer.lr": {"grid": [0.1, 0.2]}})
    found = origin_of(as_request(given), Store.open(str(tmp_path / "r"), create=True))
    copy = tmp_path / found.file
    copy.write_text(found.texts[found.file])
    again = raysl.load(copy, overrides=found.overrides)
    assert experiment_digest(again) == experiment_digest(given)
    assert again.seeds == (0, 1, 2)
