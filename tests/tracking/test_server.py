import os
import socket
import subprocess
from pathlib import Path

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
    with serving(f"sqlite:///{tmp_path}/text.db", free_port(None)) as server, said:
        server.wait_until_it_answers()


@pytest.mark.slow
def test_nothing_of_a_server_stays(empty_database: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # this machine is not behind it
    with serving(f"sqlite:///{empty_database}", free_port(None)) as server:
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
