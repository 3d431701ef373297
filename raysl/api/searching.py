"""Runs a prepared search to its end: trains, selects, scores, publishes and tracks."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from raysl.api.preparing import PreparedSearch
from raysl.api.syncing import tracker_of
from raysl.errors import ResultsError, SearchError
from raysl.launch.cluster.budget import LimitError
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.observer import Observer
from raysl.launch.driver.options import Options, Outcome
from raysl.launch.driver.search import Search
from raysl.launch.driver.session import Session
from raysl.results.storage.store import folder_id
from raysl.tracking.tracker import NoTracker, Tracker, TrackingStatus
from raysl.tracking.uri import UNTRACKED

STARTING_SECONDS = 15.0  # before the first sync, so that it does not slow the start of the search's processes
TRACKING_SECONDS = 60.0  # for which the end of a search waits for a slow tracking server


@dataclass(frozen=True)
class SearchEnd:
    """How a search ended; stopped: the limit that ended it early, empty if it was completed."""

    outcome: Outcome
    tracking: TrackingStatus
    stopped: str = ""


def run_search(search: PreparedSearch, options: Options, watched: AbstractContextManager[Observer]) -> SearchEnd:
    """Do all of a search that is not done yet, and publish its tables, whatever ends it; return how it ended.

    watched: a context that yields the observer; it is left before the last sync to the tracking store.
    Raises SearchError if the cluster or the results folder is lost, or another search has taken this one for gone;
    finished trials are kept.
    """
    stopped = ""
    with Leases(search.store) as leases:
        tracker = _tracker(search, leases)
        observer = None
        try:
            with watched as observer:
                doing = _searcher(search, options, leases, observer, tracker)
                outcome = _executed(doing)
        except LimitError as error:
            stopped, outcome = str(error), doing.outcome
        finally:
            status = tracker.close(timeout=min(TRACKING_SECONDS, max(0.0, options.limits.seconds_left / 2)))
            if not status.tracked and observer is not None:
                observer.noted(f"MLflow: {status}")
    if not stopped:
        doing.prune()  # again: if several searches end together, only the last one sees no other
    return SearchEnd(outcome, status, stopped)


def _tracker(search: PreparedSearch, leases: Leases) -> Tracker | NoTracker:
    with leases.turn("folder"):
        identity = folder_id(search.store)
    if search.tracking == UNTRACKED:
        return NoTracker()
    return tracker_of(search.store, search.tracking, identity, partial(leases.turn, "tracking"), STARTING_SECONDS)


def _searcher(
    search: PreparedSearch, options: Options, leases: Leases, observer: Observer, tracker: Tracker | NoTracker
) -> Search:
    recorder = search.request.recorder(leases.store, lambda: leases.turn("cells"))

    def changed(outcome: Outcome) -> None:
        tracker.notify()
        recorder(outcome.stage_ids)

    experiments = [experiment for experiment, _ in search.resolved]
    return Search(search.resolved, Session(experiments, leases, options, observer, changed), tracker.finish)


def _executed(search: Search) -> Outcome:
    """Execute a search; a results folder that cannot be written any more is a SearchError, not a UserError."""
    try:
        return search.execute()
    except ResultsError as error:
        raise SearchError(str(error)) from None
