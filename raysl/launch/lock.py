"""One search at a time on a results folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from raysl.errors import ResultsError
from raysl.results.store import Store


@contextmanager
def sole_search(store: Store) -> Iterator[None]:
    """Hold a local results folder against other searches; the system lets go of it when the process dies.

    An object store has no locks: two searches there train trials twice, with equal numbers.
    Raises ResultsError where another search holds it.
    """
    path = store.local_path(".search.lock")
    if path is None:
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"{store.uri}: another search is running on this results folder; wait for it, or give another --results"
            ) from None
        yield
