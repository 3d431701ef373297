"""Reads a table file: which experiment, profile and overrides give each cell of a paper's tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from raysl.config.document import ConfigError, Document, Path_, dotted, read_document
from raysl.config.experiment import load
from raysl.config.explain import validated
from raysl.config.override import Override, parse_key
from raysl.config.table_file import FileSettings, Part, ReportSettings, Scale, TableSettings
from raysl.errors import choices
from raysl.results.records.paper_tables import NOT_ASKED, Cell, ClassReport, Difference, PaperTable, PaperTables
from raysl.search.experiment import MOST_TRIALS, Experiment
from raysl.search.trials import experiment_digest

MOST_SHOWN = 12  # cells in a message
MOST_CELLS = 1000
TOLD_APART = {"data", "model"}  # the keys by which results folders distinguish searches of one name


@dataclass(frozen=True)
class TableSearch:
    """An experiment that gives cells; each is the selected config of a stage.

    cells: stage by the cell's key.
    """

    experiment: Experiment
    cells: Mapping[str, str]


def is_table_file(file: Path) -> bool:
    """Return whether a YAML holds tables rather than an experiment.

    Raises ConfigError if it cannot be read.
    """
    return "tables" in read_document(file).values


def load_tables(
    file: Path, profile: str | None, overrides: Sequence[str], patterns: Sequence[str]
) -> tuple[PaperTables, list[TableSearch]]:
    """Return the tables of a table file, with no stage known yet, and the distinct searches that their cells need.

    overrides: `key=value`, for every cell, over all that the file gives.
    patterns: shell patterns of `table/row/column`; only cells that match one are searched, or all without patterns.
    Raises ConfigError with the place, the value and the choices of every mistake.
    """
    document = read_document(file)
    settings = validated(FileSettings, document.values, (), document)
    chosen = profile or next(iter(settings.profiles))
    if chosen not in settings.profiles:
        raise ConfigError(f"--profile {profile}: {file} has no such profile; {choices(chosen, settings.profiles)}")
    _check_size(settings, document)
    reader = _Reader(file, document, settings, chosen, tuple(overrides), tuple(patterns))
    tables = tuple(reader.table(name, table) for name, table in settings.tables.items())
    reports = tuple(_class_report(cell, given) for cell, given in settings.class_reports.items())
    record = PaperTables(settings.name, chosen, settings.source, tables, {}, reader.reasons, reports)
    keys = [cell.key for cell in record.cells]
    for cell in (cell for cell in settings.class_reports if cell not in keys):
        raise ConfigError(f"{document.place(('class_reports', cell))}: {cell}: no such cell; {choices(cell, keys)}")
    _check_patterns(patterns, keys)
    skipped = [key for key in keys if not reader.asked(key)]
    record = replace(record, reasons=dict.fromkeys(skipped, NOT_ASKED) | record.reasons)
    return record, reader.searches([cell for cell in record.cells if cell.key not in record.reasons])


@dataclass(frozen=True)
class _Reader:
    file: Path
    document: Document
    settings: FileSettings
    profile: str
    overrides: tuple[str, ...]
    patterns: tuple[str, ...]
    reasons: dict[str, str] = field(default_factory=dict)
    experiments: dict[str, Experiment] = field(default_factory=dict)  # by `_text` of a cell
    num_trials: dict[str, int] = field(default_factory=dict)  # of those that give cells that are asked for

    def asked(self, key: str) -> bool:
        """Return whether a cell is among those that the patterns choose."""
        return not self.patterns or any(fnmatchcase(key, pattern) for pattern in self.patterns)

    def table(self, name: str, table: TableSettings) -> PaperTable:
        self._check_published(name, table)
        return PaperTable(
            name=name,
            title=table.title,
            rows={row: part.title for row, part in table.rows.items()},
            columns={column: part.title for column, part in table.columns.items()},
            cells=tuple(self._cells(name, table)),
            differences=tuple(Difference(one.title, one.column, one.less) for one in table.differences),
        )

    def searches(self, cells: Sequence[Cell]) -> list[TableSearch]:
        """Return each distinct experiment of some cells, with the stages that they need."""
        found: dict[str, dict[str, str]] = {}
        for cell in cells:
            found.setdefault(_text(cell.experiment, cell.profile, cell.overrides), {})[cell.key] = cell.stage
        return [
            TableSearch(_with_stages(self.experiments[what], set(stages.values())), stages)
            for what, stages in found.items()
        ]

    def _cells(self, name: str, table: TableSettings) -> Iterator[Cell]:
        for row in table.rows:
            for column in table.columns:
                if table.published is None or column in table.published.get(row, {}):
                    published = table.published[row][column] if table.published is not None else None
                    yield self._cell(name, table, row, column, published)

    def _cell(self, name: str, table: TableSettings, row: str, column: str, published: list[float] | None) -> Cell:
        parts: dict[Path_, Part] = {
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
        given = self._overrides({("profiles", self.profile, data): scale} if scale else {}, parts)
        cell = Cell(
            key=key,
            row=row,
            column=column,
            published=(published[0], published[1] if len(published) > 1 else None) if published else None,
            experiment=self._one(parts, "experiment", key)[0],
            profile=(scale.profile or "") if scale else "",
            overrides=tuple(f"{dotted(o.path)}={json.dumps(o.value, default=str)}" for o in given) + self.overrides,
            stage=self._one(parts, "stage", key)[0],
            digest="",
            value="probe" if self._one(parts, "value", key, "test")[0] == "probe" else "test",
        )
        if scale is None:
            self.reasons[key] = f"not in profile {self.profile}"
            return cell
        return self._checked(cell, given, parts)

    def _overrides(self, scales: Mapping[Path_, Scale], parts: Mapping[Path_, Part]) -> list[Override]:
        owners: dict[Path_, Scale | Part] = {**scales, **parts}
        return [
            Override(parse_key(key, f"{place}: {dotted((*path, 'set'))}"), value, place)
            for path, owner in owners.items()
            for key, value in owner.set.items()
            if (place := self.document.place((*path, "set", key)))
        ]

    def _checked(self, cell: Cell, given: Sequence[Override], parts: Mapping[Path_, Part]) -> Cell:
        """Return a cell with its experiment's digest; if it cannot be searched, add the reason to `reasons`."""
        what = _text(cell.experiment, cell.profile, cell.overrides)
        if what not in self.experiments:
            place = self._one(parts, "experiment", cell.key)[1]
            try:
                experiment = self._load(cell, given)
            except ConfigError as error:
                raise ConfigError(f"{place}: cell {cell.key}: {error}") from None
            if experiment is None:
                return cell
            self.experiments[what] = experiment
        experiment = self.experiments[what]
        if self.asked(cell.key):
            self._count(what, f"{self._one(parts, 'experiment', cell.key)[1]}: cell {cell.key}")
        stages = {stage.name: stage for stage in experiment.stages}
        if cell.stage not in stages:
            place = self._one(parts, "stage", cell.key)[1]
            raise ConfigError(f"{place}: {cell.experiment} has no stage {cell.stage!r}; {choices(cell.stage, stages)}")
        stage = stages[cell.stage]
        if cell.of_probe and stage.settings.probe == "classifier":
            place = self._one(parts, "value", cell.key)[1]
            raise ConfigError(
                f"{place}: cell {cell.key}: the probe of stage {cell.stage} is its own classifier, which has a number "
                "of test images alone; leave `value` out"
            )
        if stage.data.attack is not None and "labelled" not in experiment.streams_of(stage):
            self.reasons[cell.key] = f"stage {cell.stage} sees no labelled images, which are all that is attacked"
        return replace(cell, digest=experiment_digest(_with_stages(experiment, {cell.stage})))

    def _count(self, what: str, place: str) -> None:
        self.num_trials[what] = self.experiments[what].num_trials
        total = sum(self.num_trials.values())
        if total > MOST_TRIALS:
            raise ConfigError(
                f"{place}: with this cell's, {total:,} trials are asked for; at most "
                f"{MOST_TRIALS:,}: choose fewer --cells"
            )

    def _load(self, cell: Cell, given: Sequence[Override]) -> Experiment | None:
        """Return a cell's experiment; None if nobody asks for the cell and the command's overrides do not fit it."""
        try:
            return self._overridden(cell, given, self.overrides)
        except ConfigError:
            if self.asked(cell.key):
                raise
        self._overridden(cell, given, ())  # raises for what is wrong in the file
        return None

    def _overridden(self, cell: Cell, given: Sequence[Override], overrides: Sequence[str]) -> Experiment:
        written = zip(given, cell.overrides, strict=False)
        variant = [(o.path, text) for o, text in written if o.path[0] not in TOLD_APART]
        return load(self.file.parent / cell.experiment, cell.profile or None, [*given, *overrides], variant)

    def _one(self, parts: Mapping[Path_, Part], name: str, key: str, default: str | None = None) -> tuple[str, str]:
        """Return the value that exactly one of a cell's parts must give, and its place.

        default: if none of them gives it; None if one must.
        """
        given = {(*path, name): value for path, part in parts.items() if (value := getattr(part, name)) is not None}
        if not given and default is not None:
            return default, ""
        if len(given) != 1:
            where = ", ".join(dotted(path) for path in given or [(*path, name) for path in parts])
            trouble = "is given more than once" if given else "is given nowhere"
            raise ConfigError(f"{self.document.place(next(iter(parts)))}: cell {key}: {name!r} {trouble}: {where}")
        ((path, value),) = given.items()
        return str(value), f"{self.document.place(path)}: {dotted(path)}"

    def _check_published(self, name: str, table: TableSettings) -> None:
        for row, columns in (table.published or {}).items():
            where: Path_ = ("tables", name, "published", row)
            self._check_known(row, table.rows, where, "row")
            for column in columns:
                self._check_known(column, table.columns, (*where, column), "column")

        for number, one in enumerate(table.differences):
            for column in (one.column, one.less):
                self._check_known(column, table.columns, ("tables", name, "differences", str(number)), "column")

    def _check_known(self, name: str, known: Mapping[str, Part], where: Path_, kind: str) -> None:
        if name not in known:
            raise ConfigError(f"{self.document.place(where)}: {dotted(where)}: no such {kind}; {choices(name, known)}")


def _class_report(cell: str, given: ReportSettings) -> ClassReport:
    classes = {name: (precision, recall, f1) for name, (precision, recall, f1) in given.classes.items()}
    return ClassReport(cell, given.title, given.accuracy, classes)


def _check_size(settings: FileSettings, document: Document) -> None:
    num_cells = sum(len(table.rows) * len(table.columns) for table in settings.tables.values())
    if num_cells > MOST_CELLS:
        place = document.place(("tables",))
        raise ConfigError(f"{place}: tables: {num_cells:,} cells of rows and columns; at most {MOST_CELLS:,} in a file")


def _text(experiment: str, profile: str, overrides: Sequence[str]) -> str:
    return json.dumps([experiment, profile, overrides])


def _with_stages(experiment: Experiment, wanted: set[str]) -> Experiment:
    """Return an experiment with only the wanted stages and those that they start from."""
    needed = {one.name for stage in experiment.stages if stage.name in wanted for one in experiment.chain(stage)}
    return replace(experiment, stages=tuple(stage for stage in experiment.stages if stage.name in needed))


def _check_patterns(patterns: Sequence[str], keys: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(key, pattern) for key in keys):
            more = f" and {len(keys) - MOST_SHOWN} more" if len(keys) > MOST_SHOWN else ""
            raise ConfigError(
                f"--cells {pattern}: no cell matches; cells are table/row/column: {', '.join(keys[:MOST_SHOWN])}{more}"
            )
