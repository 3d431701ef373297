"""The code that made trials: one JSON file for each distinct code."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.store import Store
from raysl.sources import code_digest

UNKNOWN = "code that was not recorded"


@dataclass(frozen=True)
class Code:
    """The code that decides a trial's numbers, beside its spec.

    files: the deciding files of raysl, each with its digest.  start: digest of the code of the trial whose weights it
    starts from; None if it starts from scratch, or that code is unknown.
    """

    files: dict[str, str]
    start: str | None

    @property
    def digest(self) -> str:
        """16 hex digits that name the code."""
        return code_digest(self.files, self.start)


_CODE = TypeAdapter(Code)


def code_path(digest: str) -> str:
    """Return the path of a code's record in a results folder."""
    return f"code/{digest}.json"


def write_code(store: Store, code: Code) -> str:
    """Write the record of a code, unless it is there; return the code's digest, for a row."""
    path = code_path(code.digest)
    if not store.exists(path):
        write_record(store, path, _CODE, code)
    return code.digest


def read_code(store: Store, digest: str) -> Code | None:
    """Return the code of a digest; None if its record is missing or damaged."""
    return read_record(store, code_path(digest), _CODE)


def differing(store: Store, row: str | None, now: Code) -> list[str]:
    """Return the sorted files in which a row's code differs from `now`, and `UNKNOWN` if a record is missing.

    row: the digest in the row; None if it has none.
    """
    return sorted(_differing(store, row, now))


def _differing(store: Store, row: str | None, now: Code) -> set[str]:
    before = read_code(store, row) if row is not None else None
    if before is None:
        return {UNKNOWN}
    found = {name for name in before.files | now.files if before.files.get(name) != now.files.get(name)}
    if before.start != now.start:
        start = read_code(store, now.start) if now.start is not None else None
        found |= _differing(store, before.start, start) if start is not None else {UNKNOWN}
    return found
