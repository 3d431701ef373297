"""A paper's tables with the numbers of a results folder: ours beside the published ones."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysl.results.paper_tables import Cell, PaperTable, PaperTables
from raysl.results.tables import Tables

Spread = tuple[float, float | None]  # mean and standard deviation, in per cent


@dataclass(frozen=True)
class ComparedCell:
    """A cell with our number.

    ours: test accuracy over the seeds of the selected config, in per cent; None where `missing` says why.
    best, published_best: whether it is among its column's best (`best_of`).
    trial_ids: the trials that it is the mean of, by seed.
    """

    cell: Cell
    ours: Spread | None
    best: bool
    published_best: bool
    config_id: str | None
    trial_ids: tuple[str, ...]
    missing: str


@dataclass(frozen=True)
class ComparedTable:
    """A table with our numbers, its cells by (row, column)."""

    table: PaperTable
    cells: Mapping[tuple[str, str], ComparedCell]


def best_of(values: Mapping[str, Spread]) -> set[str]:
    """Return the names of the best values: the highest mean, and every other that its standard deviation reaches.

    Cavallari & Ponti 2022, section 4, bold "the highest accuracies considering also the standard deviation
    superposition". Means within one standard deviation of the highest give their bold values, at the printed
    precision in all columns but one; overlapping intervals would not.
    """
    if not values:
        return set()
    mean, std = max(values.values())
    return {name for name, value in values.items() if value[0] >= mean - (std or 0.0) - 1e-9}


def compare(tables: PaperTables, results: Tables) -> list[ComparedTable]:
    """Return a paper's tables with the numbers of a results folder's tables.

    results: those of every search in the folder, superseded ones too.
    """
    trials: dict[str, list[dict[str, Any]]] = {}
    columns = ["stage_id", "config_id", "trial_id", "seed", "test_accuracy", "selected"]
    for trial in results.trials.select(columns).to_pylist():
        if trial["selected"]:
            trials.setdefault(trial["stage_id"], []).append(trial)
    reasons = {row["stage_id"]: row["reason"] for row in results.selections.to_pylist()}
    return [_compare(table, trials, reasons) for table in tables.tables]


def _compare(
    table: PaperTable, trials: Mapping[str, list[dict[str, Any]]], reasons: Mapping[str, str]
) -> ComparedTable:
    ours = {(c.row, c.column): _ours(trials.get(c.stage_id or "", [])) for c in table.cells}
    published = {(c.row, c.column): c.published for c in table.cells}
    best, published_best = _best(table, ours), _best(table, published)
    cells = {}
    for cell in table.cells:
        key, selected = (cell.row, cell.column), trials.get(cell.stage_id or "", [])
        cells[key] = ComparedCell(
            cell=cell,
            ours=ours[key],
            best=key in best,
            published_best=key in published_best,
            config_id=selected[0]["config_id"] if selected else None,
            trial_ids=tuple(trial["trial_id"] for trial in selected),
            missing="" if ours[key] else _missing(cell, selected, reasons),
        )
    return ComparedTable(table, cells)


def _ours(selected: Sequence[Mapping[str, Any]]) -> Spread | None:
    accuracies = [trial["test_accuracy"] for trial in selected]
    if not accuracies or None in accuracies:  # a missing seed is never averaged away
        return None
    percent = [100 * accuracy for accuracy in accuracies]
    return statistics.fmean(percent), statistics.stdev(percent) if len(percent) > 1 else None


def _best(table: PaperTable, values: Mapping[tuple[str, str], Spread | None]) -> set[tuple[str, str]]:
    best = set()
    for column in table.columns:
        known = {row: value for row in table.rows if (value := values.get((row, column))) is not None}
        best |= {(row, column) for row in best_of(known)}
    return best


def _missing(cell: Cell, selected: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    if cell.missing or cell.stage_id is None:
        return cell.missing
    if selected:
        return "not scored on the test set yet"
    return reasons.get(cell.stage_id, "not selected yet")


def long_form(tables: PaperTables, compared: Iterable[ComparedTable]) -> pa.Table:
    """Return one row per cell, with what it was made of."""
    rows = [
        {
            "source": tables.source,
            "table_profile": tables.profile,
            "table": one.table.name,
            "row": one.table.rows[value.cell.row],
            "column": one.table.columns[value.cell.column],
            "mean": value.ours[0] if value.ours else None,
            "std": value.ours[1] if value.ours else None,
            "best": value.best,
            "published_mean": value.cell.published[0] if value.cell.published else None,
            "published_std": value.cell.published[1] if value.cell.published else None,
            "published_best": value.published_best,
            "missing": value.missing,
            "experiment": value.cell.experiment,
            "profile": value.cell.profile,
            "overrides": list(value.cell.overrides),
            "stage": value.cell.stage,
            "stage_id": value.cell.stage_id,
            "config_id": value.config_id,
            "trial_ids": list(value.trial_ids),
        }
        for one in compared
        for value in one.cells.values()
    ]
    return pa.Table.from_pylist(rows, schema=_LONG)


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


_TEXT, _REAL = pa.string(), pa.float64()
_LONG = pa.schema(
    [
        _field("source", _TEXT, "the paper"),
        _field("table_profile", _TEXT, "profile of the table file"),
        _field("table", _TEXT, "name of the table"),
        _field("row", _TEXT, "title of the row"),
        _field("column", _TEXT, "title of the column"),
        _field("mean", _REAL, "test accuracy over the seeds of the selected config, per cent; null where missing"),
        _field("std", _REAL, "sample standard deviation (n - 1), per cent; null for one seed"),
        _field("best", pa.bool_(), "whether our number is among the best of its column"),
        _field("published_mean", _REAL, "what the paper gives, per cent"),
        _field("published_std", _REAL, "what the paper gives, per cent"),
        _field("published_best", pa.bool_(), "whether the paper's number is among the best of its column, by our rule"),
        _field("missing", _TEXT, "why there is no number; else empty"),
        _field("experiment", _TEXT, "file name of the experiment's YAML"),
        _field("profile", _TEXT, "profile of the experiment"),
        _field("overrides", pa.list_(_TEXT), "key=value, over file and profile"),
        _field("stage", _TEXT, "stage of the experiment"),
        _field("stage_id", _TEXT, "identity of the stage and its search space"),
        _field("config_id", _TEXT, "the selected config"),
        _field("trial_ids", pa.list_(_TEXT), "the trials that the number is the mean of, by seed"),
    ]
)
