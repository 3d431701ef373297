"""A Ray cluster for one search: a local one that leaves nothing behind, or one that already stands."""

import gc
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from raysl.errors import ResourcesError, SearchError
from raysl.launch.feasibility import Node

CONNECT_SECONDS = 5.0  # for a cluster to accept a connection
LONGEST_BASE = 20
PREFIX = "raysl-"  # of local clusters' temporary folders: raysl-PID-*


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to the cluster at an address, or start a local one that ends with this block.

    Raises ResourcesError where no cluster answers at the address, SearchError where it goes away within the block.
    """
    # Tune prints the traceback of every failed trial; raysl names the trial and its log instead.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": True, "logging_level": logging.ERROR}
    with _local_cluster(quiet) if address is None else _remote_cluster(address, quiet):
        try:
            yield
        except RayError as error:
            raise SearchError(f"the Ray cluster is lost ({type(error).__name__})") from None


@contextmanager
def _remote_cluster(address: str, quiet: dict[str, Any]) -> Iterator[None]:
    _check_listening(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ResourcesError(
            f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]}); "
            "where it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    try:
        yield
    finally:
        _shut_down()


def _shut_down() -> None:
    """Leave the cluster, with no garbage of Ray's left for another thread to collect meanwhile.

    An object reference that is freed while Ray shuts down can end the whole process, with exit code 1.
    """
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _check_listening(address: str) -> None:
    """Raise ResourcesError where nothing listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").partition(":")
    if not colon or not port.isdigit():
        return  # `auto` and the like: Ray finds the place itself
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ResourcesError(f"--address {address}: no Ray cluster answers there ({error.strerror or error})") from None


@contextmanager
def _local_cluster(quiet: dict[str, Any]) -> Iterator[None]:
    _remove_stale_folders()
    # Ray's sockets lie below this folder, and a socket's path has some 100 characters at most.
    base = tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_BASE else "/tmp"
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base)
    try:
        ray.init(address="local", include_dashboard=False, _temp_dir=folder, **quiet)
        yield
    finally:
        _shut_down()
        shutil.rmtree(folder, ignore_errors=True)


def nodes() -> list[Node]:
    """Return what each living node of the cluster has in all."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(cpus=node.get("CPU", 0.0), gpus=node.get("GPU", 0.0)) for node in found]


def _remove_stale_folders() -> None:
    """Remove what searches that were killed outright have left in the temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            shutil.rmtree(folder, ignore_errors=True)
