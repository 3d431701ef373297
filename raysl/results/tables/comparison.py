"""A paper's tables with the numbers of a results folder: ours beside the published ones."""

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raysl.results.metrics import METRICS, of_columns
from raysl.results.records.paper_tables import NOT_YET, Cell, PaperTable, PaperTables
from raysl.results.records.rows import spec_of
from raysl.results.schema import nullable
from raysl.results.tables.build import Tables
from raysl.statistics.intervals import INTERVALS, Interval

Spread = tuple[float, float | None]  # mean and standard deviation, in per cent
Row = Mapping[str, Any]
OUTDATED = "it started from models that are no longer selected; the same command searches it again"


@dataclass(frozen=True)
class ComparedCell:
    """A cell with our number.

    ours: the first metric (`results.metrics`) over the seeds of the selected config, in per cent, of the test set or
        of the probe (`Cell.value`); None if `missing` says why.
    best, published_best: whether our and the published number are among the best of their column (`best_of`).
    trial_ids: the trials that are averaged, by seed.
    num_configs, num_eligible: of the stage: its configs, and those that the rule could choose from.
    are_independent: whether the seeds are; not if they are cells of a design.
    interval: the 95 % interval of our mean over independent seeds, in per cent; None unless it is asked for, or for one
        seed.
    """

    cell: Cell
    ours: Spread | None
    best: bool
    published_best: bool
    stage_id: str | None
    config_id: str | None
    trial_ids: tuple[str, ...]
    num_configs: int
    num_eligible: int
    missing: str
    are_independent: bool = True
    interval: Interval | None = None

    @property
    def standard_error(self) -> float | None:
        """The standard error of our mean over independent seeds, in per cent; None without a number or for one seed."""
        std = self.ours[1] if self.ours and self.are_independent else None
        return None if std is None else std / len(self.trial_ids) ** 0.5


@dataclass(frozen=True)
class ComparedTable:
    """A table with our numbers, its cells by (row, column); intervals: the kind of theirs (`INTERVALS`), if any."""

    table: PaperTable
    cells: Mapping[tuple[str, str], ComparedCell]
    intervals: str | None = None


def best_of(values: Mapping[str, Spread]) -> set[str]:
    """Return the names of the best values: the highest mean, and every mean within its standard deviation.

    Cavallari & Ponti 2022, section 4, bold "the highest accuracies considering also the standard deviation
    superposition". Means within one standard deviation of the highest give their bold values, at the printed
    precision in all columns but one; overlapping intervals would not.
    """
    if not values:
        return set()
    mean, std = max(values.values(), key=lambda value: (value[0], value[1] or 0.0))
    return {name for name, value in values.items() if value[0] >= mean - (std or 0.0) - 1e-9}


def compare(tables: PaperTables, results: Tables, intervals: str | None = None) -> list[ComparedTable]:
    """Return a paper's tables with the numbers of a results folder's tables; those outside the profile are left out.

    results: those of every search in the folder, superseded ones too.
    intervals: the kind of 95 % intervals (`statistics.intervals.INTERVALS`); None for none.
    """
    plain = ("stage_id", "config_id", "trial_id", "seed", "seed_design", "selected", "spec")
    columns = [*plain, *(column for metric in METRICS for column in (metric.probe, metric.test))]
    selected: dict[str, list[Row]] = {}
    for trial in results.trials.select(columns).to_pylist():
        if trial["selected"]:
            selected.setdefault(trial["stage_id"], []).append(trial)
    selections = {row["stage_id"]: row for row in results.selections.to_pylist()}
    return [_compare(table, tables, selected, selections, intervals) for table in tables.in_profile]


def _compare(
    table: PaperTable,
    tables: PaperTables,
    selected: Mapping[str, Sequence[Row]],
    selections: Mapping[str, Row],
    intervals: str | None,
) -> ComparedTable:
    starts = {trial["trial_id"] for trials in selected.values() for trial in trials}
    cells = {}
    for cell in table.cells:
        stage_id = tables.stages.get(cell.key)
        trials, selection = selected.get(stage_id or "", []), selections.get(stage_id or "", {})
        missing = _missing(cell, trials, selection, starts) if stage_id else tables.reasons.get(cell.key, NOT_YET)
        cells[cell.row, cell.column] = ComparedCell(
            cell=cell,
            ours=None if missing else _spread(_scores(cell, trials)),
            best=False,
            published_best=False,
            stage_id=stage_id,
            config_id=selection.get("config_id"),
            trial_ids=tuple(trial["trial_id"] for trial in trials),
            num_configs=selection.get("num_configs", 0),
            num_eligible=selection.get("num_eligible", 0),
            missing=missing,
            are_independent=all(trial["seed_design"] is None for trial in trials),
            interval=None if missing or intervals is None else _interval(cell, trials, intervals),
        )
    best = _best(table, {key: value.ours for key, value in cells.items()})
    published_best = _best(table, {key: value.cell.published for key, value in cells.items()})
    marked = {k: replace(v, best=k in best, published_best=k in published_best) for k, v in cells.items()}
    return ComparedTable(table, marked, intervals)


def _missing(cell: Cell, trials: Sequence[Row], selection: Row, starts: Collection[str]) -> str:
    """Return why a cell has no valid number; empty if it has one."""
    if not trials:
        return str(selection.get("reason", "not selected yet"))
    own = {str(start) for trial in trials if (start := spec_of(trial["spec"]).get("start")) is not None}
    if not own <= set(starts):
        return OUTDATED
    if len(_scores(cell, trials)) < len(trials):  # a missing seed is never averaged away
        return "not scored on the test set yet" if cell.value == "test" else "not measured by the probe"
    return ""


def _scores(cell: Cell, trials: Sequence[Row]) -> list[float]:
    """Return the first metric, in per cent, of those trials that a cell's test or probe has measured."""
    found = [next(iter(of_columns(trial, cell.value).values()), None) for trial in trials]
    return [100 * score for score in found if score is not None]


def _interval(cell: Cell, trials: Sequence[Row], kind: str) -> Interval | None:
    values = _scores(cell, trials)
    if len(values) < 2 or any(trial["seed_design"] is not None for trial in trials):
        return None
    low, high = INTERVALS[kind](values)
    return max(low, 0.0), min(high, 100.0)


def _spread(values: Sequence[float]) -> Spread:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _best(table: PaperTable, values: Mapping[tuple[str, str], Spread | None]) -> set[tuple[str, str]]:
    best = set()
    kinds = {(cell.column, cell.value) for cell in table.cells}
    for column, kind in kinds:  # numbers of the test set and of the probe are not compared
        rows = [cell.row for cell in table.cells if (cell.column, cell.value) == (column, kind)]
        known = {row: value for row in rows if (value := values.get((row, column))) is not None}
        best |= {(row, column) for row in best_of(known)}
    return best


def long_form(tables: PaperTables, compared: Iterable[ComparedTable]) -> pa.Table:
    """Return one row per cell, with the stage, config and trials of its number."""
    rows = [
        {
            "source": tables.source,
            "table_profile": tables.profile,
            "table": one.table.name,
            "cell": value.cell.key,
            "row": one.table.rows[value.cell.row],
            "column": one.table.columns[value.cell.column],
            "mean": value.ours[0] if value.ours else None,
            "std": value.ours[1] if value.ours else None,
            "value": value.cell.value,
            "low": value.interval[0] if value.interval else None,
            "high": value.interval[1] if value.interval else None,
            "best": value.best,
            "published_mean": value.cell.published[0] if value.cell.published else None,
            "published_std": value.cell.published[1] if value.cell.published else None,
            "published_best": value.published_best,
            "missing": value.missing,
            "experiment": value.cell.experiment,
            "profile": value.cell.profile,
            "overrides": list(value.cell.overrides),
            "stage": value.cell.stage,
            "stage_id": value.stage_id,
            "num_configs": value.num_configs,
            "num_eligible": value.num_eligible,
            "config_id": value.config_id,
            "trial_ids": list(value.trial_ids),
        }
        for one in compared
        for value in one.cells.values()
    ]
    return pa.Table.from_pylist(rows, schema=_LONG)


_TEXT, _REAL = pa.string(), pa.float64()
_LONG = pa.schema(
    [
        nullable("source", _TEXT, "the paper"),
        nullable("table_profile", _TEXT, "profile of the table file"),
        nullable("table", _TEXT, "name of the table"),
        nullable("cell", _TEXT, "TABLE/ROW/COLUMN, by their names"),
        nullable("row", _TEXT, "title of the row"),
        nullable("column", _TEXT, "title of the column"),
        nullable("mean", _REAL, "over the seeds of the selected config, per cent; null where missing"),
        nullable("std", _REAL, "sample standard deviation (n - 1), per cent; null for one seed"),
        nullable("value", _TEXT, "`test` of the test set, `probe` of the probe on labelled training images"),
        nullable("low", _REAL, "lower end of the 95 % interval of the mean, per cent; null unless it was asked for"),
        nullable("high", _REAL, "upper end of it"),
        nullable("best", pa.bool_(), "whether our number is among the best of its column"),
        nullable("published_mean", _REAL, "what the paper gives, per cent"),
        nullable("published_std", _REAL, "what the paper gives, per cent"),
        nullable(
            "published_best", pa.bool_(), "whether the paper's number is among the best of its column, by our rule"
        ),
        nullable("missing", _TEXT, "why there is no number; else empty"),
        nullable("experiment", _TEXT, "file name of the experiment's YAML"),
        nullable("profile", _TEXT, "profile of the experiment"),
        nullable("overrides", pa.list_(_TEXT), "key=value, over file and profile"),
        nullable("stage", _TEXT, "stage of the experiment"),
        nullable("stage_id", _TEXT, "identity of the stage and its search space"),
        nullable("num_configs", pa.int64(), "configs of the stage"),
        nullable("num_eligible", pa.int64(), "configs that the rule could choose from: all their seeds finished"),
        nullable("config_id", _TEXT, "the selected config"),
        nullable("trial_ids", pa.list_(_TEXT), "the trials that the number is the mean of, by seed"),
    ]
)
