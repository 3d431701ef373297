"""A search request: one experiment, or the experiments that give the cells of a paper's tables."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from raysl.config import load
from raysl.config.document import read_document
from raysl.config.packaged import packaged_files
from raysl.config.paper_table import is_table_file, load_tables
from raysl.errors import UserError
from raysl.results.records.origins import Origin, write_origin
from raysl.results.records.paper_tables import PaperTables, earlier_record, write_paper_tables
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment

# By the experiment's index and the stage's name; None if the stage has no model to start from.
StageIds = Mapping[tuple[int, str], str | None]
NO_START = "nothing could be selected in the stage that it starts from"


@dataclass(frozen=True)
class SearchRequest:
    """Experiments, and the tables whose cells they give, if there are any.

    results: the default results folder.
    cells: for each experiment, the name of the stage that gives a cell, by the cell's key.
    note: a choice that the user has not made and may not expect; empty if there is none.
    origin: what it was read from.
    """

    results: str
    experiments: tuple[Experiment, ...]
    origin: Origin
    tables: PaperTables | None = None
    cells: tuple[Mapping[str, str], ...] = ()
    note: str = ""

    def recorder(
        self, store: Store, turn: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Callable[[StageIds], None]:
        """Return a function that takes the ids of the stages so far, and updates the records of them.

        The records are those of the request's origin and of its tables.

        turn: a context entered while the record is read and written, because another search may update other cells.
        Raises ResultsError if the folder has other tables of the same name.
        """
        record_cells = self._cell_recorder(store, turn)
        origin, told = _with_packaged_name(self.origin), 0

        def record(stage_ids: StageIds) -> None:
            nonlocal told
            found = [stage_id for stage_id in stage_ids.values() if stage_id is not None]
            if len(found) > told:
                write_origin(store, origin, found, time.time())
                told = len(found)
            record_cells(stage_ids)

        return record

    def _cell_recorder(
        self, store: Store, turn: Callable[[], AbstractContextManager[None]]
    ) -> Callable[[StageIds], None]:
        if self.tables is None:
            return lambda stage_ids: None
        earlier_record(store, self.tables)
        asked, told = self.tables, None

        def record(stage_ids: StageIds) -> None:
            nonlocal told
            found = {
                cell: stage_ids[index, stage]
                for index, cells in enumerate(self.cells)
                for cell, stage in cells.items()
                if (index, stage) in stage_ids
            }
            if found == told:
                return
            with turn():
                before = earlier_record(store, asked)
                known = (asked if before is None else asked.carried_over(before)).found(found, NO_START)
                if known != before:
                    write_paper_tables(store, known)
            told = found

        return record


def read_request(file: Path, profile: str | None, overrides: Sequence[str], patterns: Sequence[str]) -> SearchRequest:
    """Read an experiment's YAML or a table file.

    patterns: of the cells of a table file; all if empty.
    Raises UserError if the file, the profile, an override or a pattern is wrong.
    """
    if not is_table_file(file):
        if patterns:
            raise UserError(f"--cells {patterns[0]}: {file} is an experiment; only a table file has cells")
        return request_of(load(file, profile, overrides))
    tables, searches = load_tables(file, profile, overrides, patterns)
    if not searches:
        reasons = ", ".join(dict.fromkeys(tables.reasons.values()))
        raise UserError(f"{file}: no cell is left to search: {reasons}; another --profile or other --cells would do")
    experiments = tuple(search.experiment for search in searches)
    return SearchRequest(
        f"results/{tables.name}-{tables.profile}",
        experiments,
        _origin_of_tables(file, profile, overrides, patterns, experiments),
        tables,
        tuple(search.cells for search in searches),
        "" if profile else _note(file, tables.profile),
    )


def request_of(experiment: Experiment) -> SearchRequest:
    """Return the request for one experiment."""
    suffix = f"-{experiment.profile}" if experiment.profile else ""
    return SearchRequest(f"results/{experiment.name}{suffix}", (experiment,), experiment.origin)


def _origin_of_tables(
    file: Path,
    profile: str | None,
    overrides: Sequence[str],
    patterns: Sequence[str],
    experiments: Sequence[Experiment],
) -> Origin:
    texts = {str(file): read_document(file).text}
    for experiment in experiments:
        texts |= experiment.origin.texts
    return Origin(str(file), profile or "", tuple(overrides), texts, tuple(patterns))


def _with_packaged_name(origin: Origin) -> Origin:
    """Return an origin; in place of the file of a packaged experiment it has the name, which commands take too."""
    names = {str(file): name for name, file in packaged_files().items()}

    def named(file: str) -> str:
        return names.get(os.path.normpath(file), file)

    return replace(origin, file=named(origin.file), texts={named(file): text for file, text in origin.texts.items()})


def _note(file: Path, taken: str) -> str:
    others = [name for name in read_document(file).values["profiles"] if name != taken]
    named = ", ".join(f"--profile {name}" + " (the paper's protocol)" * (name == "paper") for name in others)
    return f"{file}: profile {taken}, for no --profile is given; others: {named}" if others else ""
