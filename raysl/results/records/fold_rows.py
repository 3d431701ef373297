"""What the trials of a seed's folds came to, in the place of the trial with all labels that was not trained."""

import json
import statistics
from collections.abc import Mapping
from typing import Literal

from raysl.results.metrics import ACCURACY
from raysl.results.records.rows import TrialRow, spec_of
from raysl.results.records.stages import Member

ONLY_FOLDS: Literal["cross_fitted"] = "cross_fitted"  # the status of a seed of which only the folds were trained


def cross_fitted(member: Member, rows: Mapping[str, TrialRow]) -> float | None:
    """Return the mean accuracy over a seed's folds; None if it has none, or one is not measured."""
    accuracies = [row.probe.get(ACCURACY.name) for row in _own(member, rows)]
    known = [value for value in accuracies if value is not None]
    return statistics.fmean(known) if known and len(known) == len(member.folds) else None


def fold_seconds(member: Member, rows: Mapping[str, TrialRow]) -> float | None:
    """Return the training time of a seed's folds so far, all together; None if it has none."""
    return sum(row.seconds for row in _own(member, rows) if row.weights_of is None) if member.folds else None


def in_place_of_trial(member: Member, rows: Mapping[str, TrialRow]) -> dict[str, object]:
    """Return the columns of the table of trials of a seed of which only the folds were trained.

    Its status and reason are those of the first fold that has not finished; `cross_fitted` if all have.  Nothing is
    returned as long as one has not ended.
    """
    own = _own(member, rows)
    if not own or len(own) < len(member.folds):
        return {}
    first = own[0]
    reasons = [(row.status, f"fold {n}: {row.reason}") for n, row in enumerate(own) if row.status != "finished"]
    status, reason = reasons[0] if reasons else (ONLY_FOLDS, "")
    same = ("method", "num_parameters", "workers", "device", "raysl_version", "torch_version", "code")
    return {name: getattr(first, name) for name in same} | {
        "status": status,
        "reason": reason,
        "started_at": min(row.started_at for row in own),
        "finished_at": max(row.finished_at for row in own),
        "spec": json.dumps(spec_of(first.spec) | {"fold": None}, separators=(",", ":")),
    }


def _own(member: Member, rows: Mapping[str, TrialRow]) -> list[TrialRow]:
    return [rows[trial_id] for trial_id in member.folds if trial_id in rows]
