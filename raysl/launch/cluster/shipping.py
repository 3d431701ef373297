"""What a search's processes on other machines need of this one: its code and its settings, and its data sets.

Code goes with Ray's runtime environment.  A set goes through the results folder, which all nodes reach: it is written
there once, named by its content, and each node that lacks it fetches it once.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import raysl
from raysl.data.progress import Progress
from raysl.data.registry.sets import KNOWN, find, locate_content
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import is_decoded
from raysl.data.storage.scan import has_content
from raysl.data.storage.shipped import carried_path, receive
from raysl.errors import DataError
from raysl.launch import ENVIRONMENT
from raysl.results.storage.store import Store

log = logging.getLogger(__name__)

OF_THE_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray tells the driver of a submitted job
MERGED = "RAY_OVERRIDE_JOB_RUNTIME_ENV"  # has Ray let `ray.init` have the last word over that
LEFT_OUT = ["__pycache__"]
PIECE = 8 << 20  # bytes


def set_path(digest: str) -> str:
    """Return the place of a set in a results folder."""
    return f"data/{digest}.parquet"


@contextmanager
def runtime_environment() -> Iterator[dict[str, Any]]:
    """Give the runtime environment that has all nodes of a cluster run this very raysl.

    What a submitted job brings of its own stays.  A working directory is among it, or an empty one is given, because
    without any Ray has workers look for modules in the driver's directory first, where theirs may hold another raysl.
    """
    job = json.loads(os.environ.get(OF_THE_JOB) or "{}").get("runtime_env") or {}
    environment = {
        "py_modules": [package_folder(), *job.get("py_modules", ())],
        "env_vars": {name: os.environ[name] for name in ENVIRONMENT},
        "excludes": LEFT_OUT,
    }
    before = os.environ.get(MERGED)
    with tempfile.TemporaryDirectory() as empty:
        if "working_dir" not in job:
            Path(empty, "empty").touch()
            environment["working_dir"] = empty
        os.environ[MERGED] = "1"
        try:
            yield environment
        finally:
            os.environ.pop(MERGED)
            if before is not None:
                os.environ[MERGED] = before


def package_folder() -> str:
    """Return the folder of the raysl that runs."""
    [folder] = raysl.__path__
    return folder


def send(source: str, digest: str, store: Store, progress: Progress | None = None) -> None:
    """Put a set into a results folder, unless it is there; it is never in memory as a whole.

    Raises DataError where its content is not that of the digest, ResultsError where it cannot be written.
    """
    if store.exists(set_path(digest)):
        return
    path = locate_content(source, digest)
    if not has_content(path, digest):
        raise DataError(f"{path}: the content has changed since it was looked at")
    store.write_pieces(set_path(digest), _pieces(path, progress))


def _pieces(path: Path, progress: Progress | None) -> Iterator[bytes]:
    total, done = path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
            done += len(piece)
            if progress:
                progress(f"send {path.name}", done, total)


def fetch(source: str, digest: str, store: Store) -> None:
    """Have a set of a results folder in this machine's cache, fetched by one process while others wait."""
    address = store.address(set_path(digest))

    def write(path: Path) -> None:
        log.info("fetches %s from %s", source, address)
        with path.open("wb") as file:
            for piece in store.read_pieces(set_path(digest)):
                file.write(piece)

    receive(digest, write, address)


def ensure_data(data: TrialData, store: Store, *, file: bool) -> None:
    """Have a trial's images on this machine, if it lacks them and the results folder has them.

    file: decoded images alone will not do.
    A known set that is in neither place is left to be downloaded.
    """
    if (file or not is_decoded(data)) and not _is_here(data) and store.exists(set_path(data.digest)):
        fetch(data.source, data.digest, store)


def _is_here(data: TrialData) -> bool:
    """Say whether this machine has the very set, carried here or by itself; a folder of images is not gone through."""
    if carried_path(data.digest).is_file():
        return True
    kind, _, place = data.source.partition(":")
    path = Path(place) if kind == "parquet" else find(kind) if kind in KNOWN else None
    return path is not None and has_content(path, data.digest)
