"""Keeps MLflow up to date while a search runs, without ever delaying the search."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import pyarrow as pa

from raysl.errors import SearchError, UserError
from raysl.outgoing import presentable
from raysl.results.tables.build import Tables
from raysl.tracking.facts import RunFacts
from raysl.tracking.mlflow import TrackingError, sync
from raysl.tracking.sync_manifest import Tracked
from raysl.tracking.uri import validate_uri, without_password

_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two syncs; it doubles while the store does not answer
_REST = 4.0  # pause, in times that a sync took: tracking takes at most a fifth of one core


@dataclass(frozen=True)
class TrackingStatus:
    """The state of tracking when it was closed.

    tracked: whether everything is in the store.
    missing: number of runs that are not up to date in the store; None if it is unknown.
    reason: why they are missing; empty if `tracked`.
    """

    uri: str
    tracked: bool
    missing: int | None
    reason: str

    def __str__(self) -> str:
        if self.tracked:
            return f"tracked in {self.uri}"
        runs = "some runs are" if self.missing is None else f"{self.missing} runs are"
        return f"{runs} not tracked in {self.uri} ({self.reason}); the same command again catches up"


class Tracker:
    """Syncs the tables of `snapshot` to a tracking store, in a thread of its own.

    snapshot: returns the present tables; called in that thread.  folder_id: of their results folder.
    curves: returns a trial's rows of the table of curves, if `snapshot` leaves that table empty; called in that thread.
    tracked: remembers whether the store is up to date, which saves a sync.
    turn: entered in that thread for each sync; it waits while another process syncs the same tables, because two syncs
        at once would both create the missing runs.
    folder: the results folder's address, for the descriptions of runs.
    rest: seconds before the first sync, which imports MLflow and would slow down the caller's start.
    Raises UserError for a URI that MLflow cannot take; other errors of the store do not reach the caller.
    """

    def __init__(
        self,
        uri: str,
        snapshot: Callable[[], Tables],
        folder_id: str,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
        rest: float = 0.0,
        *,
        curves: Callable[[RunFacts], pa.Table] | None = None,
        tracked: Tracked | None = None,
        folder: str = "",
    ) -> None:
        self._uri = validate_uri(uri)
        self._turn = turn
        self._snapshot = snapshot
        self._curves, self._tracked = curves, tracked
        self._folder_id, self._folder = folder_id, folder
        # Not a lock: an interrupt of the main thread just after it has acquired a lock would leave it locked.
        self._requests: SimpleQueue[bool] = SimpleQueue()  # of a sync; True for the last one
        self._changed = self._closing = False  # the requests that the thread has received
        self._warning: str | None = None
        self._missing: int | None = None
        # A daemon: a server that accepts a request and never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._follow, args=(rest,), name="raysl-tracker", daemon=True)
        self._thread.start()

    @property
    def warning(self) -> str | None:
        """The error of the last sync; None if it succeeded."""
        return self._warning

    def notify(self) -> None:
        """Request a sync, because the tables have changed; one sync may serve many requests."""
        self._requests.put(False)

    def finish(self) -> None:
        """Request the last sync; changes after this call are not in it."""
        self._requests.put(True)

    def close(self, timeout: float = 60.0) -> TrackingStatus:
        """Sync a last time and stop; returns after `timeout` seconds at the latest."""
        self.finish()
        self._thread.join(timeout)
        reason = self._warning or ""
        if self._thread.is_alive():
            reason = reason or f"no answer within {timeout:g} s"
        shown = without_password(self._uri)
        return TrackingStatus(shown, not reason, self._missing if reason else 0, reason)

    def _follow(self, pause: float) -> None:
        while True:
            self._wait(pause)
            closing, self._changed = self._closing, False
            started = time.monotonic()
            if self._attempt():
                pause = max((time.monotonic() - started) * _REST, _PAUSE)
            else:
                pause = min(max(2 * pause, _PAUSE), _LONGEST_PAUSE)
                self._changed = True
            if closing:
                return

    def _wait(self, pause: float) -> None:
        """Wait until the last sync is requested, or the pause is over and a sync is requested."""
        end = time.monotonic() + pause
        while not self._closing and (left := end - time.monotonic()) > 0:
            self._listen(left)
        while not (self._changed or self._closing):
            self._listen(None)

    def _listen(self, seconds: float | None) -> None:
        with suppress(Empty):
            self._closing |= self._requests.get(timeout=seconds)
            self._changed = True

    def _attempt(self) -> bool:
        try:
            with self._turn():
                self._sync()
        except Exception as error:  # whatever it is, the search goes on without tracking
            self._missing = error.missing if isinstance(error, TrackingError) else None
            text = str(error) if isinstance(error, UserError | SearchError) else f"{type(error).__name__}: {error}"
            self._warning = presentable(text)
            return False
        self._warning, self._missing = None, 0
        return True

    def _sync(self) -> None:
        if self._tracked is not None and self._tracked.is_up_to_date():
            return
        sync(self._snapshot(), self._uri, self._folder_id, self._curves, self._folder)
        if self._tracked is not None:
            self._tracked.note()


class NoTracker:
    """Takes the requests of a search that is not tracked, and does nothing."""

    def notify(self) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def close(self, timeout: float = 60.0) -> TrackingStatus:
        """Return the status of a store without an address, in which nothing is missing."""
        return TrackingStatus("", True, 0, "")
