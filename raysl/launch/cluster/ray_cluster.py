"""The Ray cluster of a search: a local one that leaves nothing behind, or an existing one."""

import faulthandler
import gc
import logging
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import RayError
from ray.job_config import JobConfig
from ray.util.client import ray as client

from raysl.errors import ResourcesError, SearchError
from raysl.launch.cluster.address import check_address, check_listening, is_job_server, no_cluster, shown
from raysl.launch.cluster.connected import is_connected
from raysl.launch.cluster.local_node import local_nodes
from raysl.launch.cluster.shipping import runtime_environment
from raysl.launch.cluster.tokens import check_mode, own_token
from raysl.launch.signals import undisturbed
from raysl.sources import copy_package

LONGEST_BASE = 18
WATCH_SECONDS, GRACE_SECONDS = 1.0, 10.0
START_SECONDS = 600.0  # time limit for Ray to start on this machine; 5 are usual, 30 on a busy machine
LAST_WRITTEN = 10_000  # bytes of a process's output that are read
MODULES = "modules"  # subfolder of a local cluster's folder, where its workers find raysl
PATH = "PYTHONPATH"
NEEDED = (ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET)
PREFIX = "raysl-"  # of local clusters' temporary folders: raysl-PID-*


@contextmanager
def cluster(address: str | None, *, own_process: bool = False) -> Iterator[None]:
    """Connect to the cluster at an address, or start a local one that ends with this block.

    If this process is already in a cluster, that one is used and left as it is.
    own_process: whether this process may be ended outright if a local cluster does not start or is lost.
    Raises ResourcesError if no cluster answers at the address, SearchError if the cluster is lost within the block.
    """
    with _quiet_tune(), _cluster(address, own_process):
        try:
            yield
        except RayError as error:
            raise SearchError(f"the Ray cluster is lost ({type(error).__name__})") from None


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Keep Tune from printing the traceback of every failed trial; raysl names the trial and its log instead."""
    log = logging.getLogger("ray.tune")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _cluster(address: str | None, own_process: bool) -> AbstractContextManager[None]:
    if is_connected():
        return _standing_cluster(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": True, "logging_level": logging.ERROR}
    # Ray read the variable when it was imported, which may have been before raysl set it.
    through_uv = os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"].lower() in ("1", "true")
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = through_uv
    _remove_stale_folders()
    return _local_cluster(quiet, own_process) if address is None else _remote_cluster(address, quiet)


@contextmanager
def _standing_cluster(address: str | None) -> Iterator[None]:
    """Use the cluster that this process is in."""
    if address is not None:
        raise ResourcesError(
            f"--address {shown(address)}: this process is in a Ray cluster already; leave the address out to search "
            "there, or call ray.shutdown() before"
        )
    if client.is_connected():  # type: ignore[no-untyped-call]
        raise ResourcesError(
            "ray.init: the Ray Client cannot run Ray Tune's searches from here; connect with ray.init(address='auto') "
            "on a node of the cluster"
        )
    check_mode("ray.init", ray.get_runtime_context().gcs_address)
    yield


@contextmanager
def _remote_cluster(address: str, quiet: dict[str, Any]) -> Iterator[None]:
    check_address(address)
    if is_job_server(address):
        raise ResourcesError(
            f"--address {shown(address)}: only `raysl tune` searches from outside; give auto on a node"
        )
    check_listening(address)
    try:
        with runtime_environment() as environment:
            ray.init(address=address, runtime_env=environment, **quiet)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise no_cluster(address, error) from None
    try:
        check_mode(f"--address {shown(address)}", ray.get_runtime_context().gcs_address)
        yield
    finally:
        _shut_down()


def _shut_down() -> None:
    """Disconnect from the cluster, with garbage collection off.

    If another thread frees an object reference while Ray shuts down, the process can end with exit code 1.
    """
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


@contextmanager
def _local_cluster(quiet: dict[str, Any], own_process: bool) -> Iterator[None]:
    # Ray's sockets are below this folder, and a socket's path may have only about 100 characters.
    base = tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_BASE else "/tmp"
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base)
    with own_token(), _watched(folder) if own_process else nullcontext():
        try:
            copy_package(Path(folder, MODULES))
            # Ray sets signal handlers, some below Python's; and an exception that a signal raises in a fork is lost.
            bounded = _bounded() if own_process else nullcontext()
            with undisturbed(), _first_on_path(Path(folder, MODULES)), local_nodes(), bounded:
                # In a subfolder: Ray makes its folder writable for everybody, but nobody else can enter the outer one.
                _start(f"{folder}/r", quiet)
            yield
        finally:
            with undisturbed():
                _shut_down()
                shutil.rmtree(folder, ignore_errors=True)


def _start(folder: str, quiet: dict[str, Any]) -> None:
    try:
        ray.init(address="local", include_dashboard=False, _temp_dir=folder, job_config=_OfNoFolder(), **quiet)
    except Exception as error:  # Ray raises many classes, also `Exception` itself
        raise SearchError(f"Ray could not be started on this machine: {error}") from error


@contextmanager
def _bounded() -> Iterator[None]:
    """End the process with exit code 1 if this block takes longer than `START_SECONDS`.

    If its first worker dies before it has registered, Ray waits for ever, and no thread or signal handler of Python
    runs meanwhile.
    """
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(START_SECONDS, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class _OfNoFolder(JobConfig):
    """A job whose workers do not import modules from the driver's working directory or its script's folder."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Make processes that start within this block search a folder first for modules."""
    before = os.environ.get(PATH)
    # An empty entry would mean the current directory.
    os.environ[PATH] = os.pathsep.join(filter(None, (str(folder), *(before or "").split(os.pathsep))))
    try:
        yield
    finally:
        os.environ.pop(PATH)
        if before is not None:
            os.environ[PATH] = before


def check_local_cluster() -> None:
    """Raise SearchError if a process has died that a local cluster needs; cheap, because Ray is not asked.

    Ray itself would wait for a node for ever, or take a minute to notice.
    """
    if (name := _lost_process()) is not None:
        raise SearchError(_lost(name))


def _lost_process() -> str | None:
    node = ray._private.worker._global_node
    dead: list[tuple[str, Any]] = node.dead_processes() if node is not None else []
    return next((name for name, _ in dead if name in NEEDED), None)


def _lost(name: str) -> str:
    return f"the local Ray cluster is lost: its {name} process has died"


@contextmanager
def _watched(folder: str) -> Iterator[None]:
    """End the process if a local cluster is lost and this block does not end soon after.

    Calls of Ray then block for a minute, and no exception reaches them.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            if (name := _lost_process()) is not None and not over.wait(GRACE_SECONDS):
                sys.stderr.write(
                    f"error: {_lost(name)}; finished trials are kept; the same command goes on from here\n"
                )
                sys.stderr.flush()
                if (node := ray._private.worker._global_node) is not None:
                    node.kill_all_processes(check_alive=False, allow_graceful=False)
                shutil.rmtree(folder, ignore_errors=True)
                os._exit(1)

    threading.Thread(target=watch, name="raysl-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def standard_error(pid: int) -> str:
    """Return the last lines that a Ray process on this machine wrote to its standard error."""
    node = ray._private.worker._global_node
    if node is None:
        return ""
    found = Path(node.get_logs_dir_path()).glob(f"worker-*-{pid}.err")
    lines = [line for path in found for line in path.read_bytes()[-LAST_WRITTEN:].decode(errors="replace").splitlines()]
    return "\n".join(line for line in lines if not line.startswith(":"))  # such lines are for Ray's log readers


def _remove_stale_folders() -> None:
    """Remove folders that killed searches have left in the temporary folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists() and _is_own_folder(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder of this user and not a link: anybody may write to /tmp."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
