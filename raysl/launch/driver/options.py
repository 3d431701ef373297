"""How a search is launched, and what came of it."""

from dataclasses import dataclass, field
from typing import Literal

from raysl.launch.cluster.budget import Limits
from raysl.launch.cluster.cluster_file import ClusterFile
from raysl.results.records.rows import TrialRow

WhoseScores = Literal["selected", "all"]
Backend = Literal["ray", "inline"]
Retrain = Literal["nothing", "code"]


@dataclass(frozen=True)
class Options:
    """How a search is launched.

    backend: Ray, or this very process, one trial at a time.
    address: of a Ray cluster; None starts a local one.  max_concurrent: trials at once; None is as many as fit.
    score: which trials are scored on the test set, once the selection is written.
    retrain: `code` trains those again that are of other code than what runs.
    cluster_file: tells how far an autoscaling cluster can grow; None where it cannot.
    own_process: whether this process is there for the search alone, so that it may be ended outright where Ray hangs or
        dies; else the search waits for Ray as long as Ray takes.
    """

    backend: Backend = "ray"
    address: str | None = None
    max_concurrent: int | None = None
    score: WhoseScores = "selected"
    retrain: Retrain = "nothing"
    cluster_file: ClusterFile | None = None
    limits: Limits = field(default_factory=lambda: Limits(None, None))
    own_process: bool = False


@dataclass
class Outcome:
    """What a search did: the trials that failed, and the stages that it could not do.

    stage_ids: of the stages that it came to, by the experiment's place in the search and the stage's name; None where
        there is no model for it to start from.
    """

    failed: list[TrialRow] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)
    stage_ids: dict[tuple[int, str], str | None] = field(default_factory=dict)
