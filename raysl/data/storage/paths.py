"""The folders of data, and the locks and atomic renames that keep their files complete."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysl.errors import DataError, checked_path

_LOCK = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # refuses a link that another user has put there


def cache_home() -> Path:
    """Return the folder of files that can be rebuilt: $RAYSL_CACHE or ~/.cache/raysl."""
    return _home(os.environ.get("RAYSL_CACHE") or "~/.cache/raysl", "cache (RAYSL_CACHE)")


def given_home() -> Path | None:
    """Return $RAYSL_DATA, or None if it is not set."""
    given = os.environ.get("RAYSL_DATA")
    return _home(given, "RAYSL_DATA") if given else None


def _home(given: str, what: str) -> Path:
    return checked_path(Path(os.path.expanduser(given)).absolute(), what, DataError)


def data_home() -> Path:
    """Return the folder that sets are downloaded to: $RAYSL_DATA if it can be written to, else one in the cache."""
    given = given_home()
    return given if given and _writable(given) else cache_home() / "data"


def data_homes() -> list[Path]:
    """Return the folders that sets are looked for in: $RAYSL_DATA if it is set, then the one in the cache."""
    given = given_home()
    return [*([given] if given else []), cache_home() / "data"]


def _writable(folder: Path) -> bool:
    # A folder that does not exist yet is writable if its nearest existing ancestor is.
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def discard(path: Path) -> None:
    """Remove a file or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock on making `path` against other processes and threads; its folder is made first.

    The lock is the file `.NAME.lock` beside `path`, which stays. The system frees the lock of a process that dies.
    Raises DataError if the folder cannot be written to, or the lock is a link.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(os.open(path.with_name(f".{path.name}.lock"), _LOCK, 0o666), "w")
    except OSError as error:
        raise DataError(
            f"cannot write to {path.parent}: {error.strerror}; set RAYSL_CACHE to a folder that can be written to"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the hidden path `.NAME.tmp` to write to; it replaces `path` unless an error is raised.

    One writer at a time (see `exclusive`): the leftovers of a killed writer are removed first.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    discard(temporary)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        discard(temporary)
