"""Which trials were trained with other code than what runs, and whether the trials of a stage have one code."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from raysl.results.records.code import UNKNOWN, Code, differing
from raysl.results.records.rows import Score, TrialRow, read_rows, read_scores
from raysl.results.storage.store import Store
from raysl.sources import deciding, method_names


@dataclass(frozen=True)
class OtherCode:
    """Trials that were trained or scored with other code than what runs.

    trial_ids: theirs.  files: those that differ.  total: how many trials were looked at.
    """

    trial_ids: tuple[str, ...]
    files: tuple[str, ...]
    total: int

    def __str__(self) -> str:
        return f"{len(self.trial_ids)} of {self.total} trials were trained with other code: {', '.join(self.files)}"


def other_code(store: Store, rows: Iterable[TrialRow]) -> OtherCode:
    """Return which trials of a results folder would be trained or scored by other code now than they were.

    rows: of those to look at; what failed is none of them.
    """
    known = {row.trial_id: row for row in rows if row.status != "failed"}
    now = _codes(store, known.values())
    scores = read_scores(store, known)
    found: dict[tuple[str | None, str], Code] = {}
    trial_ids = []
    for name, row in known.items():
        codes = {row.code, *_scored(scores.get(name))}
        if others := codes - {now[name].digest}:
            trial_ids.append(name)
            found |= {(code, now[name].digest): now[name] for code in others}
    files = {file for (code, _), current in found.items() for file in differing(store, code, current)}
    return OtherCode(tuple(trial_ids), tuple(sorted(files)), len(known))


def mixture(rows: Sequence[TrialRow]) -> str:
    """Return what codes trials are of where those of the same methods are of several; else nothing."""
    if len({row.code for row in rows}) < 2:
        return ""
    by_methods: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        by_methods.setdefault(_spec(row)[0], Counter())[row.code or UNKNOWN] += 1
    mixed = [f"{number} of {code}" for codes in by_methods.values() if len(codes) > 1 for code, number in codes.items()]
    return f"trials of different code were compared: {', '.join(mixed)}" if mixed else ""


def _codes(store: Store, rows: Iterable[TrialRow]) -> dict[str, Code]:
    """Return the code that trials would be of now, by id."""
    specs = {row.trial_id: _spec(row) for row in rows}
    starts = read_rows(store, {start for _, start in specs.values() if start})
    made: dict[Any, Code] = {}
    found = {}
    for name, (methods, start) in specs.items():
        key = methods, starts[start].code if start in starts else None
        made[key] = made.get(key) or Code(dict(deciding(methods)), key[1])
        found[name] = made[key]
    return found


def _spec(row: TrialRow) -> tuple[tuple[str, ...], str | None]:
    """Return the methods of a trial, and the trial that it starts from."""
    spec = json.loads(row.spec)
    return method_names(spec.get("method", {"name": row.method})), spec.get("start")


def _scored(score: Score | None) -> set[str]:
    return {score.code} if score is not None and score.code is not None else set()
