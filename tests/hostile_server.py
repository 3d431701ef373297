"""A tracking server that repeats whatever it is told, in the ways in which servers fail."""

import json
import socket
import struct
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

BEHAVIOURS = ("500", "429", "redirect", "hang", "garbage")


class _Handler(BaseHTTPRequestHandler):
    """Answers with the request's own credentials: plain, encoded, in the body, in cookies and in where to go next."""

    server: "HostileServer"

    def do_GET(self) -> None:
        self._do()

    def do_POST(self) -> None:
        self._do()

    def _do(self) -> None:
        self.server.requests.append(self.headers.get("Authorization", ""))
        said = self._credentials()
        match self.server.behaviour:
            case "hang":
                self.server.ended.wait()
            case "garbage":
                self.wfile.write(b"\x1b[31m\xff\x00" + said.encode() + b"\r\n\r\n")
                # A reset, and no orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case "redirect":
                host = f"127.0.0.1:{self.server.server_port}"
                self._answer(302, said, Location=f"http://{quote(said)}@{host}/login?next={quote(said, safe='')}")
            case code:
                self._answer(int(code), said)

    def _credentials(self) -> str:
        kind, _, content = self.headers.get("Authorization", "").partition(" ")
        plain = b64decode(content).decode("utf-8", "replace") if kind == "Basic" else content
        return f"{kind} {content} {plain} {self.path} {self.headers.get('Host')} \x1b[2J"

    def _answer(self, code: int, said: str, **headers: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"error_code": "INTERNAL_ERROR", "message": f"refused {said}"}).encode()
        self.send_response(code, "refused")
        for name, value in {"Set-Cookie": f"session={quote(said)}", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class HostileServer(ThreadingHTTPServer):
    """The server; `requests` are the Authorization headers that it was sent."""

    daemon_threads = True

    def __init__(self, behaviour: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.requests: list[str] = []
        self.ended = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def hostile_server(behaviour: str) -> Iterator[HostileServer]:
    """Run a server of one of `BEHAVIOURS` in a thread."""
    server = HostileServer(behaviour)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
