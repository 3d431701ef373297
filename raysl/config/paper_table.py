"""Reads a table file: which experiment, profile and overrides give each cell of a paper's tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from pydantic import Field

from raysl.config.document import ConfigError, Document, Path_, dotted, read_document
from raysl.config.experiment import load
from raysl.config.explain import validated
from raysl.errors import choices
from raysl.results.paper_tables import Cell, PaperTable, PaperTables
from raysl.search.experiment import Experiment, Name
from raysl.settings import Settings

MOST_SHOWN = 12  # cells in a message
NOT_ASKED, NOT_YET = "not among --cells", "not searched yet"


class Part(Settings):
    """What a table, a row or a column says of its cells.

    experiment: a YAML, from the table file's folder.  stage: of the experiment, whose selected config is the number.
    data: a data set of the file's profiles.  set: overrides by dotted key.
    Each of a cell's experiment, stage and data stands in one of its three parts.
    """

    title: str
    experiment: str | None = None
    stage: str | None = None
    data: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)


class Scale(Settings):
    """What a data set of the tables is under a profile of the file: an experiment's profile, and overrides."""

    profile: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)


Published = Annotated[list[float], MinLen(1), MaxLen(2)]  # per cent: mean, standard deviation


class TableSettings(Part):
    """One table; where `published` is given, only the cells in it are cells."""

    rows: Annotated[dict[Name, Part], MinLen(1)]
    columns: Annotated[dict[Name, Part], MinLen(1)]
    published: dict[Name, dict[Name, Published]] | None = None


class FileSettings(Settings):
    """A table file.

    source: the paper.  profiles: by name, what each data set of the tables is; the first is taken if none is asked for.
    """

    name: Name
    source: str
    profiles: Annotated[dict[Name, dict[Name, Scale]], MinLen(1)]
    tables: Annotated[dict[Name, TableSettings], MinLen(1)]


Key = tuple[str, str, str]  # table, row, column


@dataclass(frozen=True)
class TableSearch:
    """An experiment that gives cells; each is the selected config of a stage.

    cells: stage by cell.
    """

    experiment: Experiment
    cells: Mapping[Key, str]


def is_table_file(file: Path) -> bool:
    """Return whether a YAML holds tables rather than an experiment.

    Raises ConfigError where it cannot be read.
    """
    return "tables" in read_document(file).values


def load_tables(
    file: Path, profile: str | None, overrides: Sequence[str], patterns: Sequence[str]
) -> tuple[PaperTables, list[TableSearch]]:
    """Read a table file: its tables, no stage known yet, and the searches that they take, each once.

    overrides: `key=value`, over all that the file says, for every cell.
    patterns: of `table/row/column`, as in a shell; only cells that match one are searched, or all if there are none.
    Raises ConfigError with the place, the value and the choices of whatever is wrong.
    """
    document = read_document(file)
    settings = validated(FileSettings, document.values, (), document)
    chosen = profile or next(iter(settings.profiles))
    if chosen not in settings.profiles:
        raise ConfigError(f"--profile {profile}: {file} has no such profile; {choices(chosen, settings.profiles)}")
    reader = _Reader(file, document, settings, chosen, tuple(overrides))
    tables = tuple(reader.table(name, table) for name, table in settings.tables.items())
    _check_patterns(patterns, tables)
    tables = tuple(_only(table, patterns) for table in tables)
    return PaperTables(settings.name, chosen, settings.source, tables), reader.searches(tables)


@dataclass(frozen=True)
class _Reader:
    file: Path
    document: Document
    settings: FileSettings
    profile: str
    overrides: tuple[str, ...]

    def table(self, name: str, table: TableSettings) -> PaperTable:
        self._check_published(name, table)
        return PaperTable(
            name=name,
            title=table.title,
            rows={row: part.title for row, part in table.rows.items()},
            columns={column: part.title for column, part in table.columns.items()},
            cells=tuple(self._cells(name, table)),
        )

    def searches(self, tables: Sequence[PaperTable]) -> list[TableSearch]:
        """Load each distinct experiment of the cells once."""
        cells: dict[tuple[str, str, tuple[str, ...]], dict[Key, str]] = {}
        for table in tables:
            for cell in table.cells:
                if cell.missing == NOT_YET:
                    what = (cell.experiment, cell.profile, cell.overrides)
                    cells.setdefault(what, {})[table.name, cell.row, cell.column] = cell.stage
        return [TableSearch(self._load(*what, stages), stages) for what, stages in cells.items()]

    def _cells(self, name: str, table: TableSettings) -> Iterator[Cell]:
        for row in table.rows:
            for column in table.columns:
                published = None if table.published is None else table.published.get(row, {}).get(column)
                if published is not None or table.published is None:
                    yield self._cell(name, table, row, column, published)

    def _cell(self, name: str, table: TableSettings, row: str, column: str, published: list[float] | None) -> Cell:
        parts = {
            ("tables", name): table,
            ("tables", name, "rows", row): table.rows[row],
            ("tables", name, "columns", column): table.columns[column],
        }
        key = f"{name}/{row}/{column}"
        data, place = self._one(parts, "data", key)
        known = {one for scales in self.settings.profiles.values() for one in scales}
        if data not in known:
            raise ConfigError(f"{place}: {data!r} is a data set of no profile; {choices(data, known)}")
        scale = self.settings.profiles[self.profile].get(data)
        given = [scale.set if scale else {}, *(part.set for part in parts.values())]
        own = tuple(f"{k}={json.dumps(v)}" for values in given for k, v in values.items())
        return Cell(
            row=row,
            column=column,
            published=(published[0], published[1] if len(published) > 1 else None) if published else None,
            experiment=self._one(parts, "experiment", key)[0],
            profile=(scale.profile or "") if scale else "",
            overrides=own + self.overrides,
            stage=self._one(parts, "stage", key)[0],
            stage_id=None,
            missing=NOT_YET if scale else f"not in profile {self.profile}",
        )

    def _one(self, parts: Mapping[Path_, Part], field: str, key: str) -> tuple[str, str]:
        """Return what exactly one of a cell's parts says, and its place."""
        given = {(*path, field): value for path, part in parts.items() if (value := getattr(part, field)) is not None}
        if len(given) != 1:
            where = ", ".join(dotted(path) for path in given or [(*path, field) for path in parts])
            trouble = "is given more than once" if given else "is given nowhere"
            raise ConfigError(f"{self.document.place(next(iter(parts)))}: cell {key}: {field!r} {trouble}: {where}")
        ((path, value),) = given.items()
        return str(value), f"{self.document.place(path)}: {dotted(path)}"

    def _check_published(self, name: str, table: TableSettings) -> None:
        for row, columns in (table.published or {}).items():
            for unknown, known, path in (
                *([(row, table.rows, (row,))] if row not in table.rows else []),
                *((c, table.columns, (row, c)) for c in columns if c not in table.columns),
            ):
                where = ("tables", name, "published", *path)
                kind = "row" if known is table.rows else "column"
                raise ConfigError(
                    f"{self.document.place(where)}: {dotted(where)}: no such {kind}; {choices(unknown, known)}"
                )

    def _load(self, name: str, profile: str, overrides: tuple[str, ...], stages: Mapping[Key, str]) -> Experiment:
        first = next(iter(stages))
        cell = f"{self.document.place(('tables', first[0], 'rows', first[1]))}: cell {'/'.join(first)}"
        try:
            experiment = load(self.file.parent / name, profile or None, overrides)
        except ConfigError as error:
            raise ConfigError(f"{cell}: {error}") from None
        known = [stage.name for stage in experiment.stages]
        for key, stage in stages.items():
            if stage not in known:
                place = self.document.place(("tables", key[0], "rows", key[1], "stage"))
                raise ConfigError(
                    f"{place}: cell {'/'.join(key)}: {name} has no stage {stage!r}; {choices(stage, known)}"
                )
        return _until(experiment, set(stages.values()))


def _until(experiment: Experiment, wanted: set[str]) -> Experiment:
    """Return an experiment without the stages that no cell needs."""
    needed = set(wanted)
    for stage in reversed(experiment.stages):
        if stage.name in needed and stage.start_from is not None:
            needed.add(stage.start_from)
    return replace(experiment, stages=tuple(stage for stage in experiment.stages if stage.name in needed))


def _check_patterns(patterns: Sequence[str], tables: Sequence[PaperTable]) -> None:
    keys = [f"{table.name}/{cell.row}/{cell.column}" for table in tables for cell in table.cells]
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in keys):
            more = f" and {len(keys) - MOST_SHOWN} more" if len(keys) > MOST_SHOWN else ""
            raise ConfigError(
                f"--cells {pattern}: no cell matches; cells are table/row/column: {', '.join(keys[:MOST_SHOWN])}{more}"
            )


def _only(table: PaperTable, patterns: Sequence[str]) -> PaperTable:
    def kept(cell: Cell) -> Cell:
        key = f"{table.name}/{cell.row}/{cell.column}"
        asked = not patterns or any(fnmatchcase(key, pattern) for pattern in patterns)
        return cell if asked or cell.missing != NOT_YET else replace(cell, missing=NOT_ASKED)

    return replace(table, cells=tuple(kept(cell) for cell in table.cells))
