"""The tracker of a results folder: from its tables to its tracking store."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial

import pyarrow as pa

from raysl.errors import ResultsError
from raysl.launch.coordination.leases import Leases
from raysl.results.storage.store import Store, folder_id
from raysl.search.summary import curves_of, summarise_store
from raysl.tracking.facts import RunFacts
from raysl.tracking.sync_manifest import Tracked, write_target
from raysl.tracking.tracker import Tracker, TrackingStatus


def tracker_of(
    store: Store, uri: str, identity: str, turn: Callable[[], AbstractContextManager[None]], rest: float = 0.0
) -> Tracker:
    """Return a tracker that syncs a results folder to a tracking store, which the folder remembers from now on.

    identity: the folder's own id.  turn, rest: as for `Tracker`.
    Raises UserError for a URI that MLflow cannot take.
    """

    def curves(run: RunFacts) -> pa.Table:
        return curves_of(store, run.stage_id, run.tags["raysl.trial_id"])

    tables = partial(summarise_store, store, curves=False)
    tracked = Tracked(store, uri)
    tracker = Tracker(uri, tables, identity, turn, rest, curves=curves, tracked=tracked, folder=str(store))
    with suppress(ResultsError):  # another command would have to be told the URI
        write_target(store, uri)
    return tracker


def sync_folder(store: Store, uri: str, timeout: float) -> TrackingStatus:
    """Bring a tracking store up to date with a results folder, in turn with the searches on it; return how that went.

    timeout: seconds.  Raises ResultsError if the folder cannot be written, UserError for a URI that MLflow cannot take.
    """
    with Leases(store) as leases:
        with leases.turn("folder"):
            identity = folder_id(store)
        return tracker_of(store, uri, identity, partial(leases.turn, "tracking")).close(timeout)
