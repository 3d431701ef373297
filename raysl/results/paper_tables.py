"""A paper's tables as they were searched: which stage gives each cell, beside what the paper published."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from raysl.results.store import Store, warn_damaged

FOLDER = "tables"


@dataclass(frozen=True)
class Cell:
    """One cell of a table, and where its number comes from.

    published: mean and standard deviation in per cent; the latter None where the paper gives none.
    experiment: the YAML's file name.  overrides: `key=value`, over file and profile.
    stage_id: of the search that gives the number; None where there is none, and `missing` says why.
    """

    row: str
    column: str
    published: tuple[float, float | None] | None
    experiment: str
    profile: str
    overrides: tuple[str, ...]
    stage: str
    stage_id: str | None
    missing: str


@dataclass(frozen=True)
class PaperTable:
    """A table; rows and columns are titles by name, in order, and not every pair need be a cell."""

    name: str
    title: str
    rows: dict[str, str]
    columns: dict[str, str]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class PaperTables:
    """The tables of one table file, under one of its profiles.

    source: the paper.
    """

    name: str
    profile: str
    source: str
    tables: tuple[PaperTable, ...]

    @property
    def path(self) -> str:
        """Where they lie in a results folder, without the suffix."""
        return f"{FOLDER}/{self.name}-{self.profile}"

    def with_stages(self, stage_ids: Mapping[tuple[str, str, str], str]) -> "PaperTables":
        """Return the tables with the stages of some cells, by (table, row, column), filled in."""

        def filled(table: PaperTable) -> PaperTable:
            cells = tuple(
                replace(cell, stage_id=stage_ids[key], missing="")
                if (key := (table.name, cell.row, cell.column)) in stage_ids
                else cell
                for cell in table.cells
            )
            return replace(table, cells=cells)

        return replace(self, tables=tuple(filled(table) for table in self.tables))


_TABLES = TypeAdapter(PaperTables)


def write_paper_tables(store: Store, tables: PaperTables) -> None:
    """Write `tables/<name>-<profile>.json`."""
    store.write(f"{tables.path}.json", _TABLES.dump_json(tables, indent=1))


def read_paper_tables(store: Store) -> list[PaperTables]:
    """Return all tables of a results folder; damaged records are left out (logged, with their path)."""
    found = []
    for name in store.list(FOLDER, ".json"):
        path = f"{FOLDER}/{name}"
        try:
            found.append(_TABLES.validate_json(store.read(path)))
        except ValidationError as error:
            warn_damaged(store.address(path), error.errors()[0]["msg"])
    return found
