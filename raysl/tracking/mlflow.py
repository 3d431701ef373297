"""Writes the runs of the result tables to MLflow; a second sync of the same tables writes nothing.

Every run has the tag `raysl.id`, by which it is found again. It begins with the results folder's own id, so that
folders can share a server. A completely written run also has `raysl.digest`, the digest of what was written. Logged
points have their times and steps from the tables, and MLflow stores a repeated point once: a run that was half written
when its writer was killed is simply written again.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from raysl.errors import UserError
from raysl.results.tables.build import Tables
from raysl.tracking.connection import StoreError, connected
from raysl.tracking.facts import RunFacts
from raysl.tracking.run_writer import RunWriter
from raysl.tracking.stage_runs import run_facts, superseded
from raysl.tracking.uri import validate_uri
from raysl.tracking.view_writer import write_views


@dataclass(frozen=True)
class SyncReport:
    """How many runs (stages, configs and trials) a sync created, changed and found up to date."""

    created: int
    updated: int
    unchanged: int


class TrackingError(UserError):
    """A tracking store that could not be written; `missing` runs are not up to date in it."""

    def __init__(self, message: str, missing: int) -> None:
        super().__init__(message)
        self.missing = missing


def sync(
    tables: Tables,
    uri: str,
    folder_id: str,
    curves: Callable[[RunFacts], pa.Table] | None = None,
    folder: str = "",
) -> SyncReport:
    """Bring MLflow up to date with the current stages: a run per stage, config and trial, each nested in the one above.

    Runs of superseded stages are tagged `raysl.current` = `false`; each experiment gets views that compare its runs.
    folder_id: of the tables' results folder; runs of other folders are left alone.
    curves: returns the rows of the table of curves of a trial; None takes `tables.curves`.
    folder: the results folder's address, for the descriptions of runs.
    Sets MLflow's environment variables for short timeouts, no retries and no telemetry if they are unset.
    Raises UserError for a URI that MLflow cannot take, TrackingError if the store cannot be reached or written.
    """
    validate_uri(uri)
    facts = run_facts(tables, folder)
    outcomes: Counter[str] = Counter()
    try:
        with connected(uri) as client:
            writer = RunWriter(client, uri, folder_id, facts, curves or (lambda run: tables.curves))
            for run in facts:
                outcomes[writer.write(run)] += 1
            for experiment, stages in superseded(tables).items():
                for stage_id in sorted(stages):
                    writer.set_aside(experiment, stage_id)
            write_views(client, folder_id, facts)
    except StoreError as error:
        raise TrackingError(str(error), len(facts) - outcomes.total()) from None
    return SyncReport(outcomes["created"], outcomes["updated"], outcomes["unchanged"])
