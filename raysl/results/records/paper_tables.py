"""The record of a paper's tables in a results folder: the stage of each cell, and the published numbers."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import AfterValidator, TypeAdapter

from raysl.errors import ResultsError
from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.store import Store

FOLDER = "tables"
NOT_YET, NOT_ASKED = "not searched yet", "not among --cells"


@dataclass(frozen=True)
class Cell:
    """One cell of a table, and the origin of its number.

    key: TABLE/ROW/COLUMN.
    published: mean and standard deviation in per cent; the latter is None if the paper gives none.
    experiment: the YAML's file name.  overrides: `key=value`, over file and profile.
    digest: of all settings of the experiment that decide the number; empty if the cell is not in the tables' profile.
    value: whether the number is measured on the test set, or by the probe on labelled training images.
    """

    key: str
    row: str
    column: str
    published: tuple[float, float | None] | None
    experiment: str
    profile: str
    overrides: tuple[str, ...]
    stage: str
    digest: str
    value: Literal["test", "probe"] = "test"

    @property
    def of_probe(self) -> bool:
        """Whether the number is measured by the probe on labelled training images."""
        return self.value == "probe"

    @property
    def searched(self) -> "Cell":
        """The cell without what does not decide which stage gives its number."""
        return replace(self, value="test", published=None)


@dataclass(frozen=True)
class Difference:
    """A column that is the difference of two others: `column` minus `less`."""

    title: str
    column: str
    less: str


@dataclass(frozen=True)
class PaperTable:
    """A table.

    rows, columns: titles by name, in order; not every pair need be a cell.
    differences: computed columns, after the others.
    """

    name: str
    title: str
    rows: dict[str, str]
    columns: dict[str, str]
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class ClassReport:
    """The published class report of a cell.

    cell: its key.  title: of the table in the paper.  accuracy: of all classes, 0 to 1.
    classes: precision, recall and F1 of each class, 0 to 1, by the data set's names.
    """

    cell: str
    title: str
    accuracy: float
    classes: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class PaperTables:
    """The tables of one table file, under one of its profiles.

    source: the paper.  stages: id of the stage that gives a cell, by the cell's key.
    reasons: why a cell has no stage, by its key; cells that are only not searched yet have none.
    class_reports: the published class reports of some cells.
    """

    name: str
    profile: str
    source: str
    tables: tuple[PaperTable, ...]
    stages: dict[str, str]
    reasons: dict[str, str]
    class_reports: tuple[ClassReport, ...] = ()

    @property
    def path(self) -> str:
        """The path of the record in a results folder, without the suffix."""
        return f"{FOLDER}/{self.name}@{self.profile}"  # no name has an @

    @property
    def in_profile(self) -> tuple[PaperTable, ...]:
        """The tables of which a cell is in the profile; all of them where none is."""
        return tuple(one for one in self.tables if any(cell.digest for cell in one.cells)) or self.tables

    @property
    def cells(self) -> list[Cell]:
        """The cells of all tables."""
        return [cell for table in self.tables for cell in table.cells]

    def found(self, stages: dict[str, str | None], why_none: str) -> "PaperTables":
        """Return the tables with the ids of some cells' stages; None is no stage, for the reason `why_none`."""
        known = {key: stage_id for key, stage_id in (self.stages | stages).items() if stage_id is not None}
        reasons = {key: why for key, why in self.reasons.items() if key not in stages}
        return replace(
            self,
            stages=known,
            reasons=reasons | {key: why_none for key, stage_id in stages.items() if stage_id is None},
        )

    def carried_over(self, before: "PaperTables") -> "PaperTables":
        """Return the tables with the stages of an earlier record, for the cells that have not changed."""
        known = {cell.key: cell.searched for cell in before.cells}
        same = {cell.key for cell in self.cells if cell.digest and known.get(cell.key) == cell.searched}
        return self.found({key: stage_id for key, stage_id in before.stages.items() if key in same}, "")


def _coherent(tables: PaperTables) -> PaperTables:
    """Return tables; raises ValueError if a cell or a difference names a row or a column that they lack."""
    for table in tables.tables:
        for one in table.differences:
            if not {one.column, one.less} <= table.columns.keys():
                raise ValueError(f"difference {one.title} is of no columns")
        for cell in table.cells:
            if cell.row not in table.rows or cell.column not in table.columns:
                raise ValueError(f"cell {cell.key} is in no row, or no column")
    return tables


_TABLES = TypeAdapter(Annotated[PaperTables, AfterValidator(_coherent)])


def write_paper_tables(store: Store, tables: PaperTables) -> None:
    """Write `tables/<name>@<profile>.json`."""
    write_record(store, f"{tables.path}.json", _TABLES, tables)


def read_paper_tables(store: Store) -> list[PaperTables]:
    """Return all tables of a results folder; damaged records are left out (logged, with their path)."""
    found = (read_record(store, f"{FOLDER}/{name}", _TABLES) for name in store.list(FOLDER, ".json"))
    return [tables for tables in found if tables is not None]


def earlier_record(store: Store, tables: PaperTables) -> PaperTables | None:
    """Return a results folder's earlier record of some tables; None if it has none.

    Raises ResultsError if it holds tables of that name from another source.
    """
    before = next((other for other in read_paper_tables(store) if other.path == tables.path), None)
    if before is not None and before.source != tables.source:
        raise ResultsError(
            f"{store}: holds tables named {tables.name!r} of {before.source!r}, and these are of "
            f"{tables.source!r}; give another --results, or the file another name"
        )
    return before
