"""What a file asks for: one experiment, or those that give the cells of a paper's tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raysl.config import load
from raysl.config.paper_table import Key, is_table_file, load_tables
from raysl.errors import UserError
from raysl.results.paper_tables import PaperTable, PaperTables, read_paper_tables, write_paper_tables
from raysl.results.store import Store
from raysl.search.experiment import Experiment


@dataclass(frozen=True)
class Wanted:
    """Experiments, and the tables that they are for, if they are for any.

    results: the folder where results go if no other is given.
    cells: of each experiment, the stage that gives a cell, by cell.
    """

    results: str
    experiments: tuple[Experiment, ...]
    tables: PaperTables | None = None
    cells: tuple[Mapping[Key, str], ...] = ()

    def recorder(self, store: Store) -> Callable[[Mapping[tuple[int, str], str]], None]:
        """Return what writes the tables, as far as their stages are known, whenever it is told of more of them.

        It takes stage ids by the experiment's place and the stage's name.
        """
        if self.tables is None:
            return lambda stage_ids: None
        before = next((old for old in read_paper_tables(store) if old.path == self.tables.path), None)
        tables = written = _carried_over(self.tables, before)
        write_paper_tables(store, tables)

        def record(stage_ids: Mapping[tuple[int, str], str]) -> None:
            nonlocal written
            found = {
                cell: stage_ids[index, stage]
                for index, cells in enumerate(self.cells)
                for cell, stage in cells.items()
                if (index, stage) in stage_ids
            }
            known = tables.with_stages(found)
            if known != written:
                write_paper_tables(store, known)
                written = known

        return record


def read_wanted(file: Path, profile: str | None, overrides: Sequence[str], patterns: Sequence[str]) -> Wanted:
    """Read an experiment's YAML or a table file.

    patterns: of a table file's cells.
    Raises UserError for whatever is wrong in it.
    """
    if not is_table_file(file):
        if patterns:
            raise UserError(f"--cells {patterns[0]}: {file} is an experiment; only a table file has cells")
        experiment = load(file, profile, overrides)
        suffix = f"-{experiment.profile}" if experiment.profile else ""
        return Wanted(f"results/{experiment.name}{suffix}", (experiment,))
    tables, searches = load_tables(file, profile, overrides, patterns)
    return Wanted(
        f"results/{tables.name}-{tables.profile}",
        tuple(search.experiment for search in searches),
        tables,
        tuple(search.cells for search in searches),
    )


def _carried_over(tables: PaperTables, before: PaperTables | None) -> PaperTables:
    """Keep the stages of cells that an earlier command searched, and this one was not asked for."""
    if before is None:
        return tables
    known = {
        (table.name, replace(cell, stage_id=None, missing="")): cell.stage_id
        for table in before.tables
        for cell in table.cells
        if cell.stage_id is not None
    }

    def filled(table: PaperTable) -> PaperTable:
        cells = []
        for cell in table.cells:
            stage_id = known.get((table.name, replace(cell, stage_id=None, missing="")))
            cells.append(cell if stage_id is None else replace(cell, stage_id=stage_id, missing=""))
        return replace(table, cells=tuple(cells))

    return replace(tables, tables=tuple(filled(table) for table in tables.tables))
