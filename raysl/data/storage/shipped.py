"""Sets that a search ships to machines that lack them, each stored under the digest of its content."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from raysl.data.storage.parquet import ContentDigest, read_batches, read_labels
from raysl.data.storage.paths import cache_home, exclusive, replacing
from raysl.errors import DataError

VARIABLE = "RAYSL_CARRIED"  # set for a search whose sources lie on another machine


class Carried(NamedTuple):
    """A source that lies on another machine and was shipped here.

    source: the source on that machine, with an absolute path.  digest: of its content.
    """

    source: str
    digest: str


def carried_sources() -> dict[str, Carried]:
    """Return the shipped sources of this search, by the source as its YAML writes it."""
    return {source: Carried(*facts) for source, facts in json.loads(os.environ.get(VARIABLE) or "{}").items()}


def as_variable(carried: Mapping[str, Carried]) -> dict[str, str]:
    """Return the environment variable that passes shipped sources to a search; empty if there are none."""
    return {VARIABLE: json.dumps(carried)} if carried else {}


def carried_path(digest: str) -> Path:
    """Return the path of a shipped set, be it here or not."""
    return cache_home() / "carried" / f"{digest}.parquet"


def receive(digest: str, write: Callable[[Path], None], origin: str) -> None:
    """Store a shipped set's file unless it is here; of several processes at once, one does.

    write: writes the file to a path.  origin: where the file comes from, for messages.
    Raises DataError if the file's content has another digest, or the cache has no room.
    """
    path = carried_path(digest)
    if path.is_file():  # checked before the lock, which a read-only cache cannot hold
        return
    with exclusive(path):
        if path.is_file():  # another process was faster
            return
        try:
            with replacing(path) as temporary:
                write(temporary)
                _check(temporary, digest, origin)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written: {error.strerror}; set RAYSL_CACHE to a folder with room"
            ) from error


def _check(path: Path, digest: str, origin: str) -> None:
    wrong = f"{origin}: its content does not have the digest in its name"
    try:
        found = ContentDigest(read_labels(path))
        for batch in read_batches(path):
            found.update(batch)
    except DataError as error:
        raise DataError(f"{wrong} (damaged); delete it, and the same command ships it again") from error
    if found.hexdigest() != digest:
        raise DataError(f"{wrong} ({found.hexdigest()}); delete it, and the same command ships it again")
