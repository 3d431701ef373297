"""The code that trials are of: one JSON file for each that differs in what it does."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from raysl.results.records import read_record, write_record
from raysl.results.store import Store
from raysl.sources import code_digest

UNKNOWN = "code that was not recorded"


@dataclass(frozen=True)
class Code:
    """What decides a trial's numbers beside its spec.

    files: those of raysl, each with a digest of what it does.  start: digest of the code of the trial that it starts
    from; None where it starts from scratch, or that is not known.
    """

    files: dict[str, str]
    start: str | None

    @property
    def digest(self) -> str:
        """16 hex digits that name it."""
        return code_digest(self.files, self.start)


_CODE = TypeAdapter(Code)


def code_path(digest: str) -> str:
    """Return the place of a code's record."""
    return f"code/{digest}.json"


def write_code(store: Store, code: Code) -> str:
    """Write what a code is made of, unless it is there; return its digest, for a row."""
    path = code_path(code.digest)
    if not store.exists(path):
        write_record(store, path, _CODE, code)
    return code.digest


def read_code(store: Store, digest: str) -> Code | None:
    """Return what a code is made of; None where that is not known."""
    return read_record(store, code_path(digest), _CODE)


def differing(store: Store, row: str | None, now: Code) -> list[str]:
    """Return the files in which a row's code differs from another one, or `UNKNOWN`.

    row: the digest in the row.
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
