"""`raysl.tune`: runs a search from Python."""

import os
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path

from raysl.api.launching import Launch, launch_options
from raysl.api.loading import Source, as_request
from raysl.api.observer import Observer, checked_observer
from raysl.api.preparing import prepare_search
from raysl.api.search_request import SearchRequest
from raysl.api.searching import SearchEnd, run_search
from raysl.api.turns import own_turn
from raysl.errors import UserError, quoted
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.results.tables.build import Tables, read
from raysl.search.experiment import Experiment


@dataclass(frozen=True)
class SearchResults(Tables):
    """A results folder's tables after a search, and how the search ended.

    folder: the results folder's path or URI, without keys; `raysl.read` and `raysl.load_model` take it.
    failed: the trials of this search that failed, each with its reason; the same call tries them again.
    unselected: the stages in which no config could be selected, or that had no model to start from.
    stopped: the limit (`max_hours`, `max_cost`) that ended the search early; empty if none did.
    tracking: the MLflow tracking URI, without its password; empty if the search was not tracked.
    untracked: why the store at `tracking` is not up to date; empty if it is.
    """

    folder: str = ""
    failed: tuple[TrialRow, ...] = ()
    unselected: tuple[str, ...] = ()
    stopped: str = ""
    tracking: str = ""
    untracked: str = ""

    @property
    def ok(self) -> bool:
        """Whether the search was completed, no trial failed and every stage has a selection."""
        return not (self.stopped or self.failed or self.unselected)


def tune(
    experiment: Experiment | SearchRequest | Source,
    results: str | os.PathLike[str] | None = None,
    *,
    backend: str = "ray",
    address: str | None = None,
    cluster: str | os.PathLike[str] | None = None,
    tracking: str | None = None,
    max_concurrent: int | None = None,
    max_hours: float | None = None,
    max_cost: float | None = None,
    score: str = "selected",
    retrain: str = "nothing",
    observer: Observer | None = None,
) -> SearchResults:
    """Search: train every config on every seed, select, score, and write tables; finished trials are kept.

    Nothing is printed, and signal handlers are restored. Searches in several threads run one after the other. If this
    process is already connected to Ray (`ray.init`), that cluster is used and left as it is; otherwise a local one is
    started and ended.

    Args:
        experiment: what `raysl.load` or `raysl.load_tables` returns, the path of an experiment's YAML or of a table
            file, or a dict.
        results: folder or URI; `results/NAME[-PROFILE]` below the working directory if None.
        backend: `ray`, or `inline`: one trial at a time in this process, without Ray.
        address: of a Ray cluster, on one of its nodes: `auto` or HOST:PORT.
        cluster: file of the cluster at the address: how far it grows, and its prices.
        tracking: MLflow tracking URI, or "none"; MLFLOW_TRACKING_URI if None, else SQLite in the results folder.
        max_concurrent: trials at once; as many as fit if None.
        max_hours, max_cost: limits in hours of wall time, and in USD for the cluster's nodes, of all searches with a
            limit on the results folder together.
        score: the trials whose test scores are computed: `selected`, or `all` to audit a selection rule.
        retrain: `code` retrains trials that were made by other code than this.
        observer: receives the events of the search.

    Returns:
        the tables, and how the search ended. Failed trials, stages without a selection and reached limits raise no
        exception: `ok` is False then, and `failed`, `unselected` and `stopped` say why.

    Raises:
        UserError: an argument is wrong; it is raised before anything is trained, if possible. Its message names the
            command line's option, `--max-hours` for `max_hours`.
        SearchError: the cluster or the results folder was lost. Finished trials are kept, also after an exception of
            an observer and after KeyboardInterrupt; the same call continues from there.

    Example:
        found = raysl.tune("search_spaces/rotation_semi.yaml", "results/mine", backend="inline")
        found.configs.to_pandas()
    """
    launch = Launch(
        results=_text("results", results),
        backend=backend,
        address=_text("address", address),
        cluster=None if cluster is None else Path(_text("cluster", cluster) or ""),
        tracking=_text("tracking", tracking),
        max_concurrent=max_concurrent,
        max_hours=max_hours,
        max_cost=max_cost,
        score=score,
        retrain=retrain,
    )
    if launch.from_outside:
        raise UserError(
            "--address: a search is handed to a job server by `raysl tune` alone; here, auto on a node of the cluster"
        )
    told = checked_observer(observer)
    with own_turn():
        options = launch_options(launch)
        search = prepare_search(as_request(experiment), launch, told)
        end = run_search(search, options, nullcontext(told))
    return _results(search.store, end)


def _results(store: Store, end: SearchEnd) -> SearchResults:
    tables = read(store.uri)
    return SearchResults(
        **{field.name: getattr(tables, field.name) for field in fields(Tables)},
        folder=str(store),
        failed=tuple(end.outcome.failed),
        unselected=tuple(dict.fromkeys(end.outcome.unselected)),
        stopped=end.stopped,
        tracking=end.tracking.uri,
        untracked="" if end.tracking.tracked else str(end.tracking),
    )


def _text(name: str, given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{name}: {quoted(given)} is of the type {type(given).__name__}; it takes a text")
    return os.fsdecode(given)
