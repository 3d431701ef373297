"""The state of a results folder that a tracking store in one file holds; if neither has changed, no sync is needed.

A server is always asked: only a file has a stamp that shows whether it has changed.
"""

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from raysl.errors import ResultsError
from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.file_stat import Stamp
from raysl.results.storage.store import Store
from raysl.results.tables.published import made_of
from raysl.tracking.facts import VERSION
from raysl.tracking.uri import default_uri, sqlite_path, without_password

_SETTLING = 0.1  # seconds after a write until the file's stamp is settled


@dataclass(frozen=True)
class Held:
    """A state of a results folder that a store holds.

    made_of: of the results folder, as `made_of` returned it.  size, written: of the store's file, as in its stamp.
    """

    version: int
    made_of: str
    size: int
    written: int


@dataclass(frozen=True)
class Target:
    """The tracking store of a results folder's last sync.

    uri: without its password; empty for the folder's own database, which moves with the folder.
    """

    uri: str


_HELD, _TARGET = TypeAdapter(Held), TypeAdapter(Target)
_LAST = "tracked/last.json"


def write_target(store: Store, uri: str) -> None:
    """Remember which tracking store a results folder is synced to; raises ResultsError if the folder is read-only."""
    target = Target("" if uri == default_uri(store) else without_password(uri))
    if read_record(store, _LAST, _TARGET) != target:
        write_record(store, _LAST, _TARGET, target)


def read_target(store: Store) -> str | None:
    """Return the URI of a results folder's last sync, without its password; None if there was none."""
    target = read_record(store, _LAST, _TARGET)
    return None if target is None else target.uri or default_uri(store)


class Tracked:
    """Remembers, in a results folder, which of its states a store's file holds."""

    def __init__(self, store: Store, uri: str) -> None:
        self._store, self._database = store, sqlite_path(uri)
        self._path = f"tracked/{hashlib.blake2b(uri.encode(), digest_size=8).hexdigest()}.json"
        self._made: str | None = None

    def is_up_to_date(self) -> bool:
        """Return whether the store holds the results folder's present state, and is unchanged since its last sync."""
        if self._database is None:
            return False
        self._made = made_of(self._store)
        held = self._now(self._database)
        return held is not None and held == read_record(self._store, self._path, _HELD)

    def note(self) -> None:
        """Record that the store holds the state that the results folder had when `is_up_to_date` was called."""
        if self._database is None or self._made is None:
            return
        time.sleep(_SETTLING)
        held = self._now(self._database)
        if held is not None:
            with suppress(ResultsError):  # the store is asked again then
                write_record(self._store, self._path, _HELD, held)

    def _now(self, database: Path) -> Held | None:
        """Return the state to record now; None if there is no such file, or it is being written."""
        try:
            status = database.stat()
        except OSError:
            return None
        stamp = Stamp(status.st_size, status.st_mtime_ns)
        writes = any(database.with_name(f"{database.name}{suffix}").exists() for suffix in ("-journal", "-wal"))
        if self._made is None or writes or not stamp.is_settled(time.time()):
            return None
        return Held(VERSION, self._made, stamp.size, stamp.written)
