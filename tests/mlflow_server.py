"""A real MLflow tracking server on this machine."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusters import free_port, kill_tree
from waiting import wait_for


class MlflowServer:
    """A server on a port and a database of its own, which can be killed and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start without waiting until it answers."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--artifacts-destination", str(self.folder),
        ]  # fmt: skip
        # Its job runners are eight more processes, each of which imports MLflow, and nothing here asks for them.
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment = os.environ | quiet
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)

    def wait(self) -> None:
        """Wait until it answers."""
        wait_for("answer of the tracking server", self._answers)

    def kill(self) -> None:
        """Kill it outright."""
        kill_tree(self.process.pid)
        self.process.wait()

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Run a server in a folder of its own; it answers when it is given."""
    folder.mkdir(exist_ok=True)
    server = MlflowServer(folder)
    try:
        server.wait()
        yield server
    finally:
        server.kill()
