"""Files of a results folder on this machine: listed, and written as a whole."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from raysl.results.storage.file_stat import Stamp
from raysl.results.storage.temp_files import temporary_of


def stamps_of(folder: Path) -> dict[str, Stamp]:
    """Return the stamps of a folder's files, by name; none if there is no such folder."""
    # Not through Arrow, whose listing fails if the folder is made meanwhile.
    found: dict[str, Stamp] = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file():
                    status = entry.stat()
                    found[entry.name] = Stamp(status.st_size, status.st_mtime_ns)
    return found


def _publish(temporary: Path, target: Path) -> None:
    temporary.replace(target)


def discard(temporary: Path, target: Path) -> None:
    """Delete what was written, which has shown that something can be."""
    temporary.unlink()


def publish_first(temporary: Path, target: Path) -> None:
    """Make the target of a temporary file unless it is there already."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        temporary.replace(target)
    temporary.unlink(missing_ok=True)


def write_file(
    root: Path, path: str, pieces: Iterable[bytes], publish: Callable[[Path, Path], None] = _publish
) -> None:
    """Write a file of a folder to the disk, under a temporary name until it is whole.

    publish: makes the target of the temporary file.  Raises FileNotFoundError if the folder is missing.
    """
    if not root.is_dir():  # on a worker of another machine, a folder made here would never be seen
        raise FileNotFoundError(2, "the results folder does not exist on this machine")
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(target)
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
