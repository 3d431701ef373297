"""Copies of the records in a results folder's many small files: in memory, and in one file for later processes.

A copy is used only if the folder's listing shows its file with the same size and time; all other records are read from
the small files, which are the truth. A file that is so new that it may be replaced without a change in the listing is
not copied yet.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import RLock
from typing import Any, Generic, TypeVar

import pyarrow as pa

import raysl
from raysl.errors import ResultsError
from raysl.results.storage.checksums import DAMAGE, arrow_file, digest_of, read_arrow_file
from raysl.results.storage.file_stat import Stamp
from raysl.results.storage.store import Store, warn_damaged

T = TypeVar("T")

FEW = 100  # at most so many files are read one by one, without the file of copies
SHARE = 0.05  # fraction of all files that may be missing in the file of copies
_THREADS = 16  # reading is waiting: for the disk, or for the object store
_NAME, _SIZE, _WRITTEN, _FORMAT = "file_name", "file_size", "file_written", b"raysl.gathered"


@dataclass(frozen=True)
class RecordType(Generic[T]):
    """A kind of small files.

    read: returns a file's record, by its name without suffix; None if it is absent or damaged.
    schema, to_table, from_table: convert records to a table and back without loss; None if no file of copies is kept.
    """

    folder: str
    suffix: str
    read: Callable[[Store, str], T | None]
    schema: pa.Schema | None = None
    to_table: Callable[[Sequence[T]], pa.Table] | None = None
    from_table: Callable[[pa.Table], Iterable[T]] | None = None

    @property
    def path(self) -> str:
        """The path of the file of copies."""
        return f"gathered/{self.folder}.arrow"

    @property
    def format(self) -> bytes:
        """The format of a file of copies: that of another version of raysl may hold less of each record."""
        return digest_of(raysl.__version__, str(self.schema)).encode()


def read_all(store: Store, record_type: RecordType[T], names: Iterable[str] | None = None) -> dict[str, T]:
    """Return the records of a folder's files, by name: of all, sorted, or of the given ones, in their order."""
    return _gathered(store.uri, record_type).read(store, names)


def write_copies(store: Store, record_type: RecordType[Any]) -> None:
    """Write the file of copies, if many files are missing in it; failing to write it is no error."""
    with suppress(ResultsError):
        _gathered(store.uri, record_type).write(store)


@lru_cache(maxsize=16)
def _gathered(uri: str, record_type: RecordType[T]) -> "_Gathered[T]":
    return _Gathered(record_type)


class _Gathered(Generic[T]):
    def __init__(self, record_type: RecordType[T]) -> None:
        self._record_type = record_type
        self._known: dict[str, tuple[Stamp, T]] = {}
        self._copied: dict[str, Stamp] = {}  # in the file of copies, when it was last read or written
        self._seen: Stamp | None = None  # the stamp of that file
        self._lock = RLock()  # a search and its tracking read in two threads

    def read(self, store: Store, names: Iterable[str] | None) -> dict[str, T]:
        suffix = self._record_type.suffix
        with self._lock:
            now = time.time()
            listed = {
                name.removesuffix(suffix): at for name, at in store.stamps(self._record_type.folder, suffix).items()
            }
            wanted = sorted(listed) if names is None else [name for name in dict.fromkeys(names) if name in listed]
            self._forget(listed)
            if len(self._missing(wanted)) > FEW:
                self._load(store, listed)
            found = {name: self._known[name][1] for name in wanted if name in self._known}
            missing = self._missing(wanted)
            for name, record in self._read_each(store, missing):
                found[name] = record
                if listed[name].is_settled(now):
                    self._known[name] = listed[name], record
        return {name: found[name] for name in wanted if name in found}

    def write(self, store: Store) -> None:
        to_table = self._record_type.to_table
        with self._lock:
            stamps = {name: stamp for name, (stamp, _) in self._known.items()}
            if to_table is None or len(stamps.items() - self._copied.items()) <= max(FEW, SHARE * len(stamps)):
                return
            table = to_table([record for _, record in self._known.values()])
            columns = list(stamps), [stamp.size for stamp in stamps.values()], [s.written for s in stamps.values()]
            for name, column in zip((_NAME, _SIZE, _WRITTEN), columns, strict=True):
                table = table.append_column(name, [column])
            store.write_pieces(
                self._record_type.path, arrow_file(table.replace_schema_metadata({_FORMAT: self._record_type.format}))
            )
            self._copied, self._seen = stamps, None

    def _read_each(self, store: Store, names: Sequence[str]) -> Iterator[tuple[str, T]]:
        with ThreadPoolExecutor(_THREADS) as pool:
            for name, record in zip(names, pool.map(partial(self._record_type.read, store), names), strict=True):
                if record is not None:
                    yield name, record

    def _missing(self, wanted: Sequence[str]) -> list[str]:
        return [name for name in wanted if name not in self._known]

    def _forget(self, listed: Mapping[str, Stamp]) -> None:
        changed = [name for name, (stamp, _) in self._known.items() if listed.get(name) != stamp]
        for name in changed:
            del self._known[name]

    def _load(self, store: Store, listed: Mapping[str, Stamp]) -> None:
        if self._record_type.from_table is None:
            return
        try:
            copies = self._new_copies(store)
        except FileNotFoundError:
            return
        except DAMAGE as error:
            warn_damaged(store.address(self._record_type.path), str(error).partition("\n")[0])
            return
        self._copied |= {name: stamp for name, (stamp, _) in copies.items()}
        self._known = {n: copy for n, copy in copies.items() if listed.get(n) == copy[0]} | self._known

    def _new_copies(self, store: Store) -> dict[str, tuple[Stamp, T]]:
        """Return the copies in the file of copies; none if there is no such file, or it has been read before."""
        folder, _, name = self._record_type.path.rpartition("/")
        before, self._seen = self._seen, store.stamps(folder, name).get(name)
        if self._seen in (None, before):
            return {}
        table = read_arrow_file(store.read(self._record_type.path))
        if (table.schema.metadata or {}).get(_FORMAT) != self._record_type.format:
            return {}
        names, sizes, written = (table[column].to_pylist() for column in (_NAME, _SIZE, _WRITTEN))
        assert self._record_type.from_table is not None
        records = self._record_type.from_table(table.drop_columns([_NAME, _SIZE, _WRITTEN]))
        return dict(zip(names, zip(map(Stamp, sizes, written), records, strict=True), strict=True))
