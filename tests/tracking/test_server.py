import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from waiting import wait_for

from raysl.errors import UserError
from raysl.tracking.server import FIRST_PORT, HOST, free_port, serving


def test_a_given_port_is_taken_as_it_is_and_else_the_first_free_one() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: taken"):
            free_port(port)
    assert free_port(port) == port
    found = free_port(None)
    assert found >= FIRST_PORT
    with socket.create_server((HOST, found)):
        assert free_port(None) > found


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database " * 100)
    said = pytest.raises(UserError, match="file is not a database")
    with serving(f"sqlite:///{tmp_path}/text.db", None) as server, said:
        server.wait_until_it_answers()


class _Other(BaseHTTPRequestHandler):
    """Another program's page, which says OK to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_request(self, code: object = "", size: object = "") -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True])
def test_a_port_that_another_program_takes_meanwhile_is_not_linked_to(empty_database: Path, given: bool) -> None:
    port = free_port(None)
    with serving(f"sqlite:///{empty_database}", port if given else None) as server, _other(server.address):
        taken = server.address
        if given:
            with pytest.raises(UserError, match=f"--port {port}: taken"):
                server.wait_until_it_answers()
        else:
            server.wait_until_it_answers()
            assert server.address != taken
            with urllib.request.urlopen(f"{server.address}/health") as reply:
                assert reply.status == 200


@contextmanager
def _other(address: str) -> Iterator[None]:
    """Run another program's server at an address."""
    with ThreadingHTTPServer((HOST, int(address.rpartition(":")[2])), _Other) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        yield
        other.shutdown()


@pytest.mark.slow
def test_nothing_of_a_server_stays(empty_database: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # this machine is not behind it
    with serving(f"sqlite:///{empty_database}", None) as server:
        server.wait_until_it_answers()
        group = os.getpgid(server._process.pid)
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(empty_database) not in listed, "an address may hold a password"
    wait_for("end of its processes", lambda: not _lives(group))
    assert list(tmp_path.iterdir()) == []


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
