"""Small sets in the project's Parquet form, a cache of each test's own, and a server of files."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write

REAL_DATA = os.environ.get("RAYSL_DATA")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no RAYSL_DATA."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RAYSL_CACHE", str(folder))
    monkeypatch.delenv("RAYSL_DATA", raising=False)
    return folder


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real sets."""
    if REAL_DATA is None:
        pytest.skip("RAYSL_DATA is not set")
    monkeypatch.setenv("RAYSL_DATA", REAL_DATA)
    return Path(REAL_DATA)


def small_rows(train: int = 40, test: int = 20, unlabelled: int = 0, size: int = 8, channels: int = 1) -> list[Row]:
    """Random images of classes 0, 1, 0, 1, ..., the splits mixed with one another as files may have them."""
    generator = np.random.default_rng(0)
    shape = (size, size) if channels == 1 else (size, size, channels)
    splits = ["train"] * train + ["test"] * test + ["unlabelled"] * unlabelled
    rows = []
    for number, split in enumerate(generator.permutation(splits)):
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        rows.append(Row(encode(pixels), -1 if split == "unlabelled" else number % 2, str(split)))
    return rows


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., Path]:
    """Write rows (those of `small_rows` with the given keywords if none are given) as the set NAME.parquet."""

    def make(name: str = "small", rows: list[Row] | None = None, **kinds: int) -> Path:
        path = tmp_path / f"{name}.parquet"
        write(path, small_rows(**kinds) if rows is None else rows, ["cat", "dog"], "made for a test", "none")
        return path

    return make


class Server:
    """Files by name, the length that is announced for them if it is not theirs, and what was asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, int] = {}
        self.asked: list[str] = []

    def offer(self, name: str, content: bytes) -> str:
        self.files[name] = content
        return hashlib.md5(content).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of this machine, which offers files."""
    monkeypatch.setenv("no_proxy", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            offered.asked.append(name)
            if name not in offered.files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(offered.announced.get(name, len(offered.files[name]))))
            self.end_headers()
            self.wfile.write(offered.files[name])

        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    offered = Server(f"http://127.0.0.1:{http.server_port}/")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield offered
    http.shutdown()
    thread.join()
    http.server_close()
