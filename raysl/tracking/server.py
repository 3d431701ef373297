"""MLflow's own server, on this machine alone, for a store in a database."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from raysl.errors import UserError
from raysl.outgoing import presentable
from raysl.tracking.pages import APP, NAME_PATH, NAME_VARIABLE
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
    """A server that was started; the port is the given one, else the first free one."""

    def __init__(self, folder: Path, environment: dict[str, str], port: int | None) -> None:
        self._log, self._environment, self._given = folder / "server.log", environment, port
        self._start()

    @property
    def address(self) -> str:
        """Return `http://127.0.0.1:PORT`; without a given port it holds once the server answers."""
        return f"http://{HOST}:{self._port}"

    def wait_until_it_answers(self) -> None:
        """Return once it answers; raises UserError, with the end of its log, if it ends or takes too long.

        If another program has taken its port meanwhile, it starts again on another one, or raises UserError if the port
        was given.
        """
        deadline = time.monotonic() + _STARTING
        while not self._answers():
            ended = self._process.poll() is not None
            if time.monotonic() > deadline or (ended and _is_free(self._port)):
                raise UserError(f"MLflow's server does not start: {self._last_lines()}")
            if ended:
                self._start()
            time.sleep(_PAUSE)

    def wait(self) -> None:
        """Return when the server has ended by itself, with an error; raises UserError then."""
        self._process.wait()
        raise UserError(f"MLflow's server has ended: {self._last_lines()}")

    def end(self) -> None:
        """End it with all the processes that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING)

    def _start(self) -> None:
        self._port, self._name = free_port(self._given), secrets.token_hex(16)
        options = ["--app-name", APP, "--host", HOST, "--port", str(self._port), "--workers", "1"]
        with self._log.open("wb") as written:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                stdin=subprocess.DEVNULL, stdout=written, stderr=written, cwd=self._log.parent,
                env={**self._environment, NAME_VARIABLE: self._name}, start_new_session=True,
            )  # fmt: skip

    def _answers(self) -> bool:
        """Return whether this very server answers: another program may have its port."""
        if self._process.poll() is not None:
            return False
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"{self.address}{NAME_PATH}", timeout=5
            ) as reply:
                return bool(reply.read(len(self._name) + 1) == self._name.encode())
        except (OSError, HTTPException):
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
def serving(uri: str, port: int | None) -> Iterator[Server]:
    """Start MLflow's server for a database, and end it with all its processes after the block.

    uri: of the database; it is passed in the environment, which other users cannot read.
    port: see `free_port`.
    """
    if path := sqlite_path(uri):
        uri = f"sqlite:///{str(path.absolute()).replace('%', '%25').replace('?', '%3F')}"
    environment = {**os.environ, **_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": uri}
    with tempfile.TemporaryDirectory(prefix="raysl-ui-") as folder:  # where it would make folders of its own
        server = Server(Path(folder), environment, port)
        try:
            yield server
        finally:
            server.end()


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True
