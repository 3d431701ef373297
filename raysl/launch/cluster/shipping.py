"""Ships code, settings and data sets from this machine to the search's processes on other machines.

Code is shipped with Ray's runtime environment.  A set is shipped through the results folder, which all nodes can reach:
it is written there once, named by its content, and each node that lacks it fetches it once.
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

OF_THE_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for the driver of a submitted job
MERGED = "RAY_OVERRIDE_JOB_RUNTIME_ENV"  # makes Ray prefer the arguments of `ray.init` to that
LEFT_OUT = ["__pycache__"]
PIECE = 8 << 20  # bytes


def set_path(digest: str) -> str:
    """Return the path of a set in a results folder."""
    return f"data/{digest}.parquet"


@contextmanager
def runtime_environment() -> Iterator[dict[str, Any]]:
    """Yield the runtime environment with which all nodes of a cluster run this process's raysl.

    The environment of a submitted job is kept.  If it has no working directory, an empty one is added: without one,
    workers import modules from the driver's directory first, which may hold another raysl on their machine.
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
    """Return the folder of the running raysl package."""
    [folder] = raysl.__path__
    return folder


def send(source: str, digest: str, store: Store, progress: Progress | None = None) -> None:
    """Copy a set to a results folder, unless it is there, piece by piece.

    Raises DataError if its content does not have the digest, ResultsError if it cannot be written.
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
    """Copy a set of a results folder to this machine's cache, unless it is there; one process copies, others wait."""
    address = store.address(set_path(digest))

    def write(path: Path) -> None:
        log.info("fetches %s from %s", source, address)
        with path.open("wb") as file:
            for piece in store.read_pieces(set_path(digest)):
                file.write(piece)

    receive(digest, write, address)


def ensure_data(data: TrialData, store: Store, *, file: bool) -> None:
    """Fetch a trial's images from the results folder, if this machine lacks them and the folder has them.

    file: whether the set's file is needed, and not only the decoded images.
    A known set that is in neither place is downloaded later.
    """
    if (file or not is_decoded(data)) and not _is_here(data) and store.exists(set_path(data.digest)):
        fetch(data.source, data.digest, store)


def _is_here(data: TrialData) -> bool:
    """Return whether this machine has the set with this digest, shipped or its own; a folder of images is not read."""
    if carried_path(data.digest).is_file():
        return True
    kind, _, place = data.source.partition(":")
    path = Path(place) if kind == "parquet" else find(kind) if kind in KNOWN else None
    return path is not None and has_content(path, data.digest)
