"""A results folder, on any file system that pyarrow knows."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

import pyarrow as pa
from pyarrow import fs

from raysl.errors import ResultsError, checked_path
from raysl.outgoing import learn_address, presentable, read_address
from raysl.results.stamps import Stamp
from raysl.results.temporaries import clear, temporary_of

logger = logging.getLogger("raysl.results")

Names = list[str]

# S3 without delayed opening starts a multipart upload for every small file; GCS retries for 15 minutes by default.
_OPTIONS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=30", "gcs": "retry_limit_seconds=30"}
_KEY_AND_BUCKET = re.compile(r"^When .*?: (?=AWS Error)")  # begins S3's messages; the place in ours names both
_FOLDER = "folder.json"
_PROBE_BYTES = 4096  # a full disk may still have room for an empty file
# raysl gives up on an object store that does not answer within a minute, and waits for one that restarts. pyarrow's
# defaults would try for 99 s, but would not retry after a 503 (slow down).
_ATTEMPTS, _CONNECT_SECONDS, _ANSWER_SECONDS = 5, 5.0, 8.0
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
        with _named(f"results folder {self}"):
            self._fs, self._root = _file_system(self.uri)
        self._local = Path(self._root) if isinstance(self._fs, fs.LocalFileSystem) else None

    @classmethod
    def open(cls, uri_or_path: str, *, create: bool) -> "Store":
        """Open a results folder: a local path, or a URI such as `s3://bucket/folder`.

        create: make the folder if it is missing, and check that it is writable.
        Raises ResultsError if it is missing (not `create`), not a folder, unreachable or not writable.
        """
        store = cls(uri_or_path)
        place = f"results folder {store}"
        with _named(place):
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
        with _named(self.address(path), absent=True), self._fs.open_input_stream(where, compression=None) as stream:
            return bytes(stream.read())

    def write(self, path: str, content: bytes) -> None:
        """Write a file as a whole: a reader sees the old content or the new, never a part.

        Raises ResultsError (disk full, read-only, unreachable), leaving the old content and nothing else.
        """
        with _named(self.address(path)):
            if self._local is not None:
                _write_local(self._local, self._inside(path), [content])
            else:
                stream = self._fs.open_output_stream(self._absolute(path), compression=None)
                stream.write(content)
                stream.close()  # not in a `with`: that would publish a part after a failed write

    def read_pieces(self, path: str) -> Iterator[bytes]:
        """Yield a large file's content, piece by piece; raises as `read` does."""
        where = self._absolute(path)
        with _named(self.address(path), absent=True), self._fs.open_input_stream(where, compression=None) as stream:
            while piece := stream.read(_PIECE):
                yield bytes(piece)

    def write_pieces(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a large file of pieces that need not be in memory together; atomic as `write`, with the same errors."""
        with _named(self.address(path)):
            if self._local is not None:
                _write_local(self._local, self._inside(path), pieces)
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
        with _named(self.address(path)):
            _write_local(self._local, self._inside(path), [content], _publish_first)

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        with _named(self.address(path)):
            return bool(self._kind(path) == fs.FileType.File)

    def list(self, folder: str, suffix: str) -> Names:
        """Return the names of a folder's files that end in `suffix`, sorted; empty if there is no such folder."""
        return sorted(self.modified(folder, suffix))

    def modified(self, folder: str, suffix: str) -> dict[str, float]:
        """Return when the files that `list` names were written: unix seconds, by the clock of the storage."""
        return {name: stamp.written / 1e9 for name, stamp in self.stamps(folder, suffix).items()}

    def stamps(self, folder: str, suffix: str) -> dict[str, Stamp]:
        """Return the stamps of the files that `list` names, in no order."""
        with _named(self.address(folder)):
            if self._local is not None:
                files = _stamps(self._local / self._inside(folder))
            else:
                infos = self._fs.get_file_info(fs.FileSelector(self._absolute(folder), allow_not_found=True))
                # An entry without a size is no file; asking for its type takes longer, and there may be thousands.
                found = ((info.base_name, info.size, info.mtime_ns) for info in infos)
                files = {name: Stamp(size, written or 0) for name, size, written in found if size is not None}
        return {name: stamp for name, stamp in files.items() if name.endswith(suffix) and not name.startswith(".")}

    def delete(self, path: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError), _named(self.address(path), absent=True):
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
        with _named(f"results folder {self}"):
            self._make_writable()

    def _make_writable(self) -> None:
        if self._local is None:
            self._fs.create_dir(self._root)  # writes a marker object: fails if nothing can be written
            return
        self._local.mkdir(parents=True, exist_ok=True)
        self.clear_temporaries()
        _write_local(self._local, "probe", [bytes(_PROBE_BYTES)], _discard)


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


def without_keys(uri: str) -> str:
    """Return an address without its secrets: keys before an @, which may hold a slash, and the query."""
    return read_address(uri).bare if "://" in uri else uri


def _file_system(uri: str) -> tuple[fs.FileSystem, str]:
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return fs.LocalFileSystem(), uri
    if option := _OPTIONS.get(scheme):
        uri = f"{uri}{'&' if '?' in uri else '?'}{option}"
    try:
        file_system, root = fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(str(error).replace(uri, without_keys(uri))) from None
    return _patient(file_system) if scheme == "s3" else file_system, root.rstrip("/")


def _patient(s3: fs.S3FileSystem) -> fs.S3FileSystem:
    """Return the same file system with timeouts and retries, which no address can set."""
    _, (options,) = s3.__reduce__()
    attempts = fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS)
    times = {"connect_timeout": _CONNECT_SECONDS, "request_timeout": _ANSWER_SECONDS}
    return fs.S3FileSystem(**options | times, retry_strategy=attempts)


@contextmanager
def _named(place: str, *, absent: bool = False) -> Iterator[None]:
    """Turn file system errors into a ResultsError that names the place; `absent` lets FileNotFoundError through."""
    try:
        yield
    except UnicodeEncodeError:
        raise ResultsError(f"{place}: its name is not UTF-8, and Arrow opens no other") from None
    except (OSError, pa.ArrowException) as error:
        if absent and isinstance(error, FileNotFoundError):
            raise
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ResultsError(f"{place}: {_KEY_AND_BUCKET.sub('', reason)}") from None  # its text may hold the keys


def _stamps(folder: Path) -> dict[str, Stamp]:
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


def _discard(temporary: Path, target: Path) -> None:
    temporary.unlink()


def _publish_first(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        temporary.replace(target)
    temporary.unlink(missing_ok=True)


def _write_local(
    root: Path, path: str, pieces: Iterable[bytes], publish: Callable[[Path, Path], None] = _publish
) -> None:
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
