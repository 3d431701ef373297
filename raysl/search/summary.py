"""Builds a results folder's four tables from its rows, scores, stages and selections."""

import time
from dataclasses import replace

import pyarrow as pa

from raysl.results.records.rows import read_row, read_rows, read_scores, write_row_copies
from raysl.results.records.stages import read_selections, read_stages, trial_ids
from raysl.results.schema import CURVES
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, build, publish
from raysl.results.tables.published import is_published, made_of, note_published
from raysl.search.config_means import summarise

SETTLING = 0.1  # seconds to wait until a new local file is old enough for its time stamp to be trusted

_last: dict[str, tuple[str, Tables]] = {}  # by the store's URI: digest of the listing of its files, and the tables


def summarise_store(store: Store, *, curves: bool = True) -> Tables:
    """Build the tables of everything that a results folder holds.

    curves: whether the table of curves, by far the largest, is filled too.
    """
    made = made_of(store)
    known, last = _last.get(store.uri, (None, None))
    if last is not None and known == made and not curves:
        return last
    stages = read_stages(store)
    ids = trial_ids(stages)
    rows, scores = read_rows(store, ids), read_scores(store, ids)
    configs = [summary for stage in stages for summary in summarise(stage, rows, scores)]
    tables = build(stages, rows, scores, configs, read_selections(store), curves=curves)
    _last.clear()
    if made is not None:
        _last[store.uri] = made, replace(tables, curves=CURVES.empty_table())
    return tables


def publish_store(store: Store) -> None:
    """Publish the tables of everything that a results folder holds, unless they are up to date."""
    made = made_of(store)
    if made is None:
        time.sleep(SETTLING)
        made = made_of(store)
    if made is None or not is_published(store, made):
        publish(store, summarise_store(store))
        note_published(store, made)
    write_row_copies(store)


def curves_of(store: Store, stage_id: str, trial_id: str) -> pa.Table:
    """Return the rows of the table of curves of one trial of a stage; an empty table if the trial has no row."""
    stages = [stage for stage in read_stages(store) if stage.stage_id == stage_id]
    row = read_row(store, trial_id)
    members = (member for stage in stages for member in stage.members if member.trial_id == trial_id)
    narrow = [replace(stage, members=tuple(members)) for stage in stages]
    return build(narrow, {trial_id: row} if row else {}, {}, (), {}).curves
