"""MLflow's own server, on this machine alone, for a store in a database."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from raysl.errors import UserError
from raysl.outgoing import presentable
from raysl.tracking.pages import APP
from raysl.tracking.uri import sqlite_path

HOST = "127.0.0.1"
FIRST_PORT, MOST_PORTS = 5000, 20  # the ports that are tried if none is given
_STARTING, _ENDING, _PAUSE = 180.0, 10.0, 0.2  # seconds
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes
}


class Server:
    """A server that was started.

    address: `http://127.0.0.1:PORT`.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.address = f"http://{HOST}:{port}"
        self._process, self._log = process, log

    def wait_until_it_answers(self) -> None:
        """Return once it answers; raises UserError, with the end of its log, if it ends or takes too long."""
        deadline = time.monotonic() + _STARTING
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"MLflow's server does not start: {self._last_lines()}")
            time.sleep(_PAUSE)

    def wait(self) -> None:
        """Return when the server has ended by itself, with an error; raises UserError then."""
        self._process.wait()
        raise UserError(f"MLflow's server has ended: {self._last_lines()}")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            return False
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"{self.address}/health", timeout=5
            ) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return presentable(" / ".join(line.strip() for line in lines if line.strip())[-400:]) or "no message"


def free_port(port: int | None) -> int:
    """Return the port to listen on: the given one, else the first free one from `FIRST_PORT` on.

    Raises UserError if it is taken.
    """
    if port is not None:
        if not _is_free(port):
            raise UserError(f"--port {port}: taken by another program; without --port, a free one is found")
        return port
    ports = range(FIRST_PORT, FIRST_PORT + MOST_PORTS)
    if (found := next(filter(_is_free, ports), None)) is None:
        raise UserError(f"ports {ports.start} to {ports.stop - 1} are taken; --port gives another")
    return found


@contextmanager
def serving(uri: str, port: int) -> Iterator[Server]:
    """Start MLflow's server for a database, and end it with all its processes after the block.

    uri: of the database; it is passed in the environment, which other users cannot read.
    """
    if path := sqlite_path(uri):
        uri = f"sqlite:///{str(path.absolute()).replace('%', '%25').replace('?', '%3F')}"
    options = ["--app-name", APP, "--host", HOST, "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *options]
    environment = {**os.environ, **_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryDirectory(prefix="raysl-ui-") as folder:  # where it would make folders of its own
        log = Path(folder) / "server.log"
        with log.open("wb") as written:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, cwd=folder, env=environment,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield Server(process, port, log)
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True
