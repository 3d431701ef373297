"""A results folder, on any file system that pyarrow knows."""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

import pyarrow as pa
from pyarrow import fs

from raysl.errors import ResultsError, checked_path
from raysl.outgoing import learn_address, presentable
from raysl.results.storage.file_stat import Stamp
from raysl.results.storage.file_systems import file_system, named, without_keys
from raysl.results.storage.local_files import discard, publish_first, stamps_of, write_file
from raysl.results.storage.temp_files import clear

logger = logging.getLogger("raysl.results")

Names = list[str]

_FOLDER = "folder.json"
_PROBE_BYTES = 4096  # a full disk may still have room for an empty file
_PIECE = 8 << 20  # bytes


class Store:
    """Files of a results folder, by path relative to it; each write is atomic.

    Picklable: a worker opens the same folder by its `uri`.
    Raises ResultsError if the address is of an unknown kind.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri if "://" in uri else str(Path(os.path.expanduser(uri)).absolute())
        checked_path(Path(self.uri), "results folder", ResultsError)
        if "://" in uri:
            learn_address(uri)
        with named(f"results folder {self}"):
            self._fs, self._root = file_system(self.uri)
        self._local = Path(self._root) if isinstance(self._fs, fs.LocalFileSystem) else None

    @classmethod
    def open(cls, uri_or_path: str, *, create: bool) -> "Store":
        """Open a results folder: a local path, or a URI such as `s3://bucket/folder`.

        create: make the folder if it is missing, and check that it is writable.
        Raises ResultsError if it is missing (not `create`), not a folder, unreachable or not writable.
        """
        store = cls(uri_or_path)
        place = f"results folder {store}"
        with named(place):
            kind = store._kind("")
            if kind == fs.FileType.File:
                raise ResultsError(f"{place}: is a file, not a folder")
            if create:
                store._make_writable()
            elif kind == fs.FileType.NotFound:
                raise ResultsError(f"{place}: no such folder")
        return store

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    def __repr__(self) -> str:
        return f"Store({without_keys(self.uri)!r})"

    def __str__(self) -> str:
        """Return the folder's address for messages, without the keys that may stand in it."""
        return without_keys(self.uri)

    def read(self, path: str) -> bytes:
        """Return a file's content.

        Raises FileNotFoundError if there is no such file, ResultsError if it cannot be read.
        """
        where = self._absolute(path)
        with named(self.address(path), absent=True), self._fs.open_input_stream(where, compression=None) as stream:
            return bytes(stream.read())

    def write(self, path: str, content: bytes) -> None:
        """Write a file as a whole: a reader sees the old content or the new, never a part.

        Raises ResultsError (disk full, read-only, unreachable), leaving the old content and nothing else.
        """
        with named(self.address(path)):
            if self._local is not None:
                write_file(self._local, self._inside(path), [content])
            else:
                stream = self._fs.open_output_stream(self._absolute(path), compression=None)
                stream.write(content)
                stream.close()  # not in a `with`: that would publish a part after a failed write

    def read_pieces(self, path: str) -> Iterator[bytes]:
        """Yield a large file's content, piece by piece; raises as `read` does."""
        where = self._absolute(path)
        with named(self.address(path), absent=True), self._fs.open_input_stream(where, compression=None) as stream:
            while piece := stream.read(_PIECE):
                yield bytes(piece)

    def write_pieces(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a large file of pieces that need not be in memory together; atomic as `write`, with the same errors."""
        with named(self.address(path)):
            if self._local is not None:
                write_file(self._local, self._inside(path), pieces)
                return
            stream = self._fs.open_output_stream(self._absolute(path), compression=None)
            try:
                for piece in pieces:
                    stream.write(piece)
                    stream.flush()  # else pieces that are read faster than they are sent fill the memory
            except BaseException:
                # A stream that is dropped publishes what it has.
                with suppress(OSError, pa.ArrowException):
                    stream.close()
                    self._fs.delete_file(self._absolute(path))
                raise
            stream.close()

    def create(self, path: str, content: bytes) -> None:
        """Write a file as a whole unless it exists; of several processes at once, the first one wins.

        On an object store, which cannot promise that, the last one wins.  Raises ResultsError as `write` does.
        """
        if self._local is None:
            if not self.exists(path):
                self.write(path, content)
            return
        with named(self.address(path)):
            write_file(self._local, self._inside(path), [content], publish_first)

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        with named(self.address(path)):
            return bool(self._kind(path) == fs.FileType.File)

    def list(self, folder: str, suffix: str) -> Names:
        """Return the names of a folder's files that end in `suffix`, sorted; empty if there is no such folder."""
        return sorted(self.modified(folder, suffix))

    def modified(self, folder: str, suffix: str) -> dict[str, float]:
        """Return when the files that `list` names were written: unix seconds, by the clock of the storage."""
        return {name: stamp.written / 1e9 for name, stamp in self.stamps(folder, suffix).items()}

    def stamps(self, folder: str, suffix: str) -> dict[str, Stamp]:
        """Return the stamps of the files that `list` names, in no order."""
        with named(self.address(folder)):
            if self._local is not None:
                files = stamps_of(self._local / self._inside(folder))
            else:
                infos = self._fs.get_file_info(fs.FileSelector(self._absolute(folder), allow_not_found=True))
                # An entry without a size is no file; asking for its type takes longer, and there may be thousands.
                found = ((info.base_name, info.size, info.mtime_ns) for info in infos)
                files = {name: Stamp(size, written or 0) for name, size, written in found if size is not None}
        return {name: stamp for name, stamp in files.items() if name.endswith(suffix) and not name.startswith(".")}

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError), named(self.address(path), absent=True):
            self._fs.delete_file(self._absolute(path))

    def local_path(self, path: str) -> Path | None:
        """Return a file's path on this machine; None on an object store."""
        return None if self._local is None else self._local / self._inside(path)

    def clear_temporaries(self) -> None:
        """Delete the temporary files of killed processes."""
        if self._local is not None:
            clear(self._local)

    def address(self, path: str) -> str:
        """Return a file's full address, for messages."""
        return f"{self}/{path}"

    def _absolute(self, path: str) -> str:
        return f"{self._root}/{self._inside(path)}" if path else self._root

    def _inside(self, path: str) -> str:
        """Return a path; raises ResultsError if it leaves the folder: parts of it may come from an untrusted record."""
        if ".." in path.split("/") or path.startswith("/") or "\0" in path:
            raise ResultsError(f"{self}: {path!r} is no place in a results folder")
        return path

    def _kind(self, path: str) -> fs.FileType:
        return self._fs.get_file_info(self._absolute(path)).type

    def check_writable(self) -> None:
        """Raise ResultsError if the folder is not writable, or has hardly any room."""
        with named(f"results folder {self}"):
            self._make_writable()

    def _make_writable(self) -> None:
        if self._local is None:
            self._fs.create_dir(self._root)  # writes a marker object: fails if nothing can be written
            return
        self._local.mkdir(parents=True, exist_ok=True)
        self.clear_temporaries()
        write_file(self._local, "probe", [bytes(_PROBE_BYTES)], discard)


def folder_id(store: Store) -> str:
    """Return a results folder's own id: 8 random hex digits, written at the first use; a moved folder keeps them."""
    content = json.dumps({"id": token_hex(4)}).encode()
    try:
        return str(json.loads(store.read(_FOLDER))["id"])
    except FileNotFoundError:
        store.create(_FOLDER, content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        warn_damaged(store.address(_FOLDER), str(error))
        store.write(_FOLDER, content)
    return str(json.loads(store.read(_FOLDER))["id"])  # another process may have been first


@lru_cache(maxsize=4096)
def warn_damaged(address: str, reason: str) -> None:
    """Log, once per process, that a damaged file is treated as absent."""
    logger.warning("%s is damaged and treated as absent: %s", presentable(address), presentable(reason))
