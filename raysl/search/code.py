"""Finds trials that were trained with other code than the code that runs, and stages whose trials differ in code."""

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
    """Trials that were trained or scored with other code than the code that runs.

    trial_ids: of these trials.  files: the source files that differ.  total: the number of trials that were checked.
    """

    trial_ids: tuple[str, ...]
    files: tuple[str, ...]
    total: int

    def __str__(self) -> str:
        return f"{len(self.trial_ids)} of {self.total} trials were trained with other code: {', '.join(self.files)}"


def other_code(store: Store, rows: Iterable[TrialRow]) -> OtherCode:
    """Return which trials were trained or scored with other code than they would be now.

    rows: of the trials to check; failed ones are skipped.
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
    """Return a caution if trials of the same methods have different code, else an empty string."""
    if len({row.code for row in rows}) < 2:
        return ""
    by_methods: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        by_methods.setdefault(_spec(row)[0], Counter())[row.code or UNKNOWN] += 1
    mixed = [f"{number} of {code}" for codes in by_methods.values() if len(codes) > 1 for code, number in codes.items()]
    return f"trials of different code were compared: {', '.join(mixed)}" if mixed else ""


def _codes(store: Store, rows: Iterable[TrialRow]) -> dict[str, Code]:
    """Return the code that trials would have if they were trained now, by trial id."""
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
    """Return the names of a trial's methods, and the id of the trial that it starts from."""
    spec = json.loads(row.spec)
    return method_names(spec.get("method", {"name": row.method})), spec.get("start")


def _scored(score: Score | None) -> set[str]:
    return {score.code} if score is not None and score.code is not None else set()
