"""A run of MLflow, as plain values."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["stage", "config", "trial"]

LABEL = "raysl.stage_label"  # tag: a stage's name, with what tells it from others of that name
VERSION = 4  # increase when the same rows are written differently, so that the next sync writes the runs anew


class Dataset(NamedTuple):
    """The data set that a run reads; digest: of its images and labels."""

    name: str
    digest: str


@dataclass(frozen=True)
class RunFacts:
    """One MLflow run.

    id, parent: ids of the run and of its parent; unlike `raysl.id`, without the results folder's own id.
    status: RUNNING, FINISHED, FAILED, or KILLED of a trial that was stopped early.
    start, end: unix milliseconds, of the trials that have ended.
    tags: `raysl.attempt` changes when a trial is trained again; a config has it once all its trials have ended.
    metrics: the single values; NaN if not finite.  (Curves: `raysl.tracking.curves`.)
    settings: YAML of the settings that all trials of a stage share, once it is complete; else empty.
    """

    experiment: str
    kind: Kind
    id: str
    parent: str | None
    stage_id: str
    name: str
    status: str
    start: int
    end: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    dataset: Dataset | None = None
    settings: str = ""

    @property
    def digest(self) -> str:
        """16 hex digits of the hash of everything that is written for this run."""
        text = json.dumps([VERSION, vars(self)], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
