"""The record of what the published tables were made of, so that unchanged tables are not made again."""

import time
from dataclasses import dataclass

from pydantic import TypeAdapter

import raysl
from raysl.results import schema
from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.checksums import digest_of
from raysl.results.storage.store import Store

PATH = "published.json"
_MADE_OF = {"rows": ".parquet", "scores": ".parquet", "stages": ".json", "selections": ".json"}
_TABLES = tuple(f"{name}{suffix}" for name in schema.SCHEMAS for suffix in (".arrow", ".parquet"))


@dataclass(frozen=True)
class Published:
    """Tables that were published.

    made_of: as `made_of` returned it before they were made.  tables: the stamps of their files.
    """

    made_of: str
    tables: dict[str, tuple[int, int]]


_PUBLISHED = TypeAdapter(Published)


def made_of(store: Store) -> str | None:
    """Return a digest of the listing of all files that tables are made of, and of raysl's version.

    None if a file is so new that it may be replaced without a change in the listing.
    """
    now = time.time()
    listed = [sorted(store.stamps(folder, suffix).items()) for folder, suffix in _MADE_OF.items()]
    if not all(stamp.is_settled(now) for files in listed for _, stamp in files):
        return None
    return digest_of(raysl.__version__, *map(str, schema.SCHEMAS.values()), *listed)


def is_published(store: Store, made: str | None) -> bool:
    """Return whether the published tables of a folder are up to date.

    made: as `made_of` returns it now.
    """
    known = read_record(store, PATH, _PUBLISHED)
    return known is not None and known.made_of == made and known.tables == _stamps(store)


def note_published(store: Store, made: str | None) -> None:
    """Record that a folder's published tables were made of the state for which `made_of` returned `made`."""
    if made is not None:
        write_record(store, PATH, _PUBLISHED, Published(made, _stamps(store)))


def _stamps(store: Store) -> dict[str, tuple[int, int]]:
    return {name: (stamp.size, stamp.written) for name, stamp in store.stamps("", "").items() if name in _TABLES}
