"""How a search is launched, and its outcome."""

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

    backend: Ray, or this process, one trial at a time.
    address: of a Ray cluster; None starts a local one.
    max_concurrent: the number of trials at once; None is as many as fit.
    score: which trials are scored on the test set, once the selection is written.
    retrain: `code` retrains trials that were made by other code than the code that runs.
    cluster_file: describes how far an autoscaling cluster can grow; None if it cannot.
    own_process: whether this process runs nothing but the search.  If so, it may be ended outright when Ray hangs or
        dies; otherwise the search waits for Ray without a limit.
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
    """The outcome of a search.

    failed: the rows of trials that failed.
    unselected: names of the stages in which no config could be selected.
    stage_ids: ids of the stages that the search reached, by the experiment's index in the search and the stage's name;
        None if the stage has no model to start from.
    """

    failed: list[TrialRow] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)
    stage_ids: dict[tuple[int, str], str | None] = field(default_factory=dict)
