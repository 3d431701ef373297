"""Sets that a search brings along to machines that lack them, each kept by the digest of its content."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from raysl.data.parquet import ContentDigest, read_batches, read_labels
from raysl.data.places import cache_home, exclusive, replacing
from raysl.errors import DataError

VARIABLE = "RAYSL_CARRIED"  # in the environment of a search whose sources lie on another machine


class Carried(NamedTuple):
    """What stands for a source that lies on another machine.

    source: what it is there, in whatever folder.  digest: of its content.
    """

    source: str
    digest: str


def carried_sources() -> dict[str, Carried]:
    """Return what stands for the sources of this search, as its YAML writes them."""
    return {source: Carried(*facts) for source, facts in json.loads(os.environ.get(VARIABLE) or "{}").items()}


def as_variable(carried: Mapping[str, Carried]) -> dict[str, str]:
    """Return the environment variable that says so to a search on another machine."""
    return {VARIABLE: json.dumps(carried)} if carried else {}


def carried_path(digest: str) -> Path:
    """Return the place of a set that was brought here."""
    return cache_home() / "carried" / f"{digest}.parquet"


def receive(digest: str, write: Callable[[Path], None], origin: str) -> None:
    """Have a set's file in its place here, brought once by however many processes ask for it at once.

    write: writes the file, as it comes from its origin, to a path.
    Raises DataError where what comes has another content, or the cache has no room.
    """
    path = carried_path(digest)
    if path.is_file():  # before the lock, which a cache that can only be read has no room for
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
    mend = f"{origin}: not the images that its name says"
    try:
        found = ContentDigest(read_labels(path).class_names)
        for batch in read_batches(path):
            found.update(batch)
    except DataError as error:
        raise DataError(f"{mend} (damaged); delete it, and the same command brings it there again") from error
    if found.hexdigest() != digest:
        raise DataError(f"{mend} ({found.hexdigest()}); delete it, and the same command brings it there again")
