"""The four published tables: built from rows and records, written as Arrow and Parquet, read back."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysl.errors import ResultsError
from raysl.results import schema
from raysl.results.criteria import CRITERION_NAMES
from raysl.results.cross_fit import CROSS_FITTED
from raysl.results.metrics import as_columns
from raysl.results.records.fold_rows import cross_fitted, fold_seconds, in_place_of_trial
from raysl.results.records.rows import Score, TrialRow
from raysl.results.records.stages import Member, SelectionRecord, StageRecord, Value, current_ids, data_text, model_text
from raysl.results.storage.checksums import DAMAGE, arrow_file, digest_of_pieces, read_arrow_file
from raysl.results.storage.store import Store
from raysl.results.tables.curve_points import points

Records = list[dict[str, Any]]

_ROW_COLUMNS = tuple(name for name in schema.TRIALS.names if name in TrialRow.__annotations__)


@dataclass(frozen=True)
class Tables:
    """The published tables; schemas with units and descriptions in `raysl.results.schema`."""

    trials: pa.Table
    curves: pa.Table
    configs: pa.Table
    selections: pa.Table

    def current(self) -> "Tables":
        """Return the tables without the stages that a later search of the same stage has superseded."""
        tables = {field.name: getattr(self, field.name) for field in fields(Tables)}
        # Null in the tables of an earlier version, which did not record it.
        return Tables(**{name: table.filter(pc.fill_null(table["current"], True)) for name, table in tables.items()})


@dataclass(frozen=True)
class ConfigSummary:
    """A config over its seeds.

    means, stds: by column, sample standard deviations with n - 1; a column without enough values has none.
    pareto: whether it is on the front of the stage's objectives; None if the stage has fewer than two.
    dropped_in_round: of the stage's race, from 1; None if no round dropped it.
    in_tie_set: whether it cannot be told from the best by the stage's rule; None if that cannot be tested.
    """

    stage_id: str
    config_id: str
    num_seeds: int
    num_finished: int
    eligible: bool
    reason: str
    means: Mapping[str, float]
    stds: Mapping[str, float]
    pareto: bool | None = None
    dropped_in_round: int | None = None
    in_tie_set: bool | None = None


def build(
    stages: Sequence[StageRecord],
    rows: Mapping[str, TrialRow],
    scores: Mapping[str, Score],
    configs: Iterable[ConfigSummary],
    selections: Mapping[str, SelectionRecord],
    *,
    curves: bool = True,
) -> Tables:
    """Build the tables of some stages, ordered by stage, config (as searched) and seed.

    rows, scores: by trial id; a member without a row is `pending`.  selections: by stage id.
    curves: whether that table is filled.
    """
    numeric = _numeric(stages)
    current = current_ids(stages)
    places = {stage.stage_id: _place(stage, stage.stage_id in current) for stage in stages}
    params = {(s.stage_id, m.config_id): _params(m.params, numeric) for s in stages for m in s.members}
    summaries = {(summary.stage_id, summary.config_id): summary for summary in configs}
    trials: Records = []
    config_rows: Records = []
    chosen: Records = []
    for stage in stages:
        place, selection = places[stage.stage_id], selections.get(stage.stage_id)
        selected = selection.config_id if selection else None
        trials += [place | row for row in _trials(stage, rows, scores, selected)]
        config_rows += [place | row for row in _configs(stage, summaries, selected)]
        chosen += [place | _selection(stage, selection)] if selection else []
    for row in (*trials, *config_rows):
        row |= params[row["stage_id"], row["config_id"]]
    return Tables(
        trials=pa.Table.from_pylist(trials, schema=schema.with_params(schema.TRIALS, numeric)),
        curves=pa.concat_tables([schema.CURVES.empty_table(), *_curves(stages if curves else (), places, rows)]),
        configs=pa.Table.from_pylist(config_rows, schema=schema.with_params(schema.CONFIGS, numeric)),
        selections=pa.Table.from_pylist(chosen, schema=schema.SELECTIONS),
    )


def publish(store: Store, tables: Tables) -> None:
    """Write `<table>.arrow` and `<table>.parquet` for each table, each atomically; unchanged files are not written."""
    for field in fields(tables):
        table = getattr(tables, field.name)
        _write_changed(store, f"{field.name}.arrow", partial(arrow_file, table))
        _write_changed(store, f"{field.name}.parquet", partial(_parquet, table))


def read(uri: str) -> Tables:
    """Read the tables of a results folder; columns that its writer did not know yet come as nulls.

    Raises ResultsError if there is no such folder, it holds no tables, or they are damaged or of a later version.
    """
    store = Store.open(uri, create=False)
    return Tables(**{name: _read(store, name, known) for name, known in schema.SCHEMAS.items()})


def _curves(
    stages: Iterable[StageRecord], places: Mapping[str, dict[str, Any]], rows: Mapping[str, TrialRow]
) -> Iterator[pa.Table]:
    for stage in stages:
        place = {name: value for name, value in places[stage.stage_id].items() if name in schema.CURVES.names}
        yield from points(place, [(m, rows[m.trial_id].curve) for m in _ordered(stage) if m.trial_id in rows])


def _numeric(stages: Iterable[StageRecord]) -> dict[str, bool]:
    numeric: dict[str, bool] = {}
    for stage in stages:
        for key in stage.searched:
            values = [member.params[key] for member in stage.members if key in member.params]
            numeric[key] = numeric.get(key, True) and all(_is_number(value) for value in values)
    return dict(sorted(numeric.items()))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _params(params: Mapping[str, Value], numeric: Mapping[str, bool]) -> dict[str, float | str]:
    def cell(key: str, value: Value) -> float | str:
        return float(value) if numeric[key] else value if isinstance(value, str) else json.dumps(value)

    return {f"params.{key}": cell(key, value) for key, value in params.items() if key in numeric}


def _place(stage: StageRecord, current: bool) -> dict[str, Any]:
    names = {name: getattr(stage, name) for name in ("experiment", "profile", "stage", "stage_id")}
    texts = {"data": data_text(stage), "model": model_text(stage), "variant": stage.variant}
    return names | texts | {"current": current, "objectives": stage.objectives or None}


def _ordered(stage: StageRecord) -> list[Member]:
    order = {config: place for place, config in enumerate(dict.fromkeys(m.config_id for m in stage.members))}
    return sorted(stage.members, key=lambda member: (order[member.config_id], member.seed))


def _trials(
    stage: StageRecord, rows: Mapping[str, TrialRow], scores: Mapping[str, Score], selected: str | None
) -> Iterator[dict[str, Any]]:
    for member in _ordered(stage):
        row, score = rows.get(member.trial_id), scores.get(member.trial_id)
        facts: dict[str, Any] = {"status": "pending", "reason": ""} | in_place_of_trial(member, rows)
        if row:
            facts = {name: getattr(row, name) for name in _ROW_COLUMNS}
            facts |= as_columns(row.probe, "probe") | {name: row.criteria.get(name) for name in CRITERION_NAMES}
        facts |= {name: _microseconds(facts[name]) for name in ("started_at", "finished_at") if name in facts}
        yield facts | {
            "config_id": member.config_id,
            "trial_id": member.trial_id,
            "seed": member.seed,
            "seed_design": None if stage.design is None else str(stage.design),
            **as_columns(score.metrics if score else {}, "test"),
            CROSS_FITTED: cross_fitted(member, rows),
            "folds": member.folds or None,
            "fold_seconds": fold_seconds(member, rows),
            "selected": member.config_id == selected,
        }


def _configs(
    stage: StageRecord, summaries: Mapping[tuple[str, str], ConfigSummary], selected: str | None
) -> Iterator[dict[str, Any]]:
    for config_id in dict.fromkeys(member.config_id for member in stage.members):
        if summary := summaries.get((stage.stage_id, config_id)):
            means = {f"{column}_mean": value for column, value in summary.means.items()}
            stds = {f"{column}_std": value for column, value in summary.stds.items()}
            yield asdict(summary) | means | stds | {"selected": config_id == selected}


def _selection(stage: StageRecord, selection: SelectionRecord) -> dict[str, Any]:
    num_configs = len({member.config_id for member in stage.members})
    return {
        "rule": selection.rule,
        "config_id": selection.config_id,
        "reason": selection.reason,
        "params": json.dumps(selection.params),
        "trial_ids": selection.trial_ids,
        "num_configs": num_configs,
        "num_eligible": num_configs - len(selection.ineligible),
        "ineligible": [asdict(config) for config in selection.ineligible],
        "selected_at": _microseconds(selection.selected_at),
    }


def _microseconds(unix_seconds: float) -> int:
    return round(unix_seconds * 1e6)


def _parquet(table: pa.Table) -> Iterator[bytes]:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    yield bytes(sink.getvalue())


def _write_changed(store: Store, path: str, pieces: Callable[[], Iterator[bytes]]) -> None:
    try:
        unchanged = digest_of_pieces(store.read_pieces(path)) == digest_of_pieces(pieces())
    except FileNotFoundError:
        unchanged = False
    if unchanged:
        return
    if store.local_path(path) is None:
        store.write(path, b"".join(pieces()))  # a failed upload of pieces would leave no table there
    else:
        store.write_pieces(path, pieces())


def _read(store: Store, name: str, known: pa.Schema) -> pa.Table:
    path = f"{name}.arrow"
    try:
        table = read_arrow_file(store.read(path))
        metadata = table.schema.metadata or {}
        if (held := metadata.get(b"raysl.table", b"").decode()) not in ("", name):
            raise ValueError(f"holds the table {held}")
        version = metadata.get(b"raysl.schema_version", b"").decode()
        whole = _with_missing(table, known)
    except FileNotFoundError:
        raise ResultsError(f"{store.address(path)}: no such table; is it the folder of a search?") from None
    except DAMAGE as error:
        reason = str(error).partition("\n")[0]
        raise ResultsError(
            f"{store.address(path)}: damaged ({reason}); delete it, and the search's command writes it anew"
        ) from None
    if version != schema.VERSION.decode():
        raise ResultsError(
            f"{store.address(path)}: schema version {version!r}; this raysl reads {schema.VERSION.decode()!r}"
        )
    return whole


def _with_missing(table: pa.Table, known: pa.Schema) -> pa.Table:
    for field in known:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    extra = [name for name in table.column_names if name not in known.names]
    return table.select(known.names + extra)
