"""MLflow as `compose.yaml` sets it up, behind a proxy that ends TLS, as Caddy does."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cluster_files import CLUSTER, documents
from mlflow_server import mlflow_server

pytestmark = pytest.mark.slow

DOMAIN = "mlflow.example.org"
SEARCH = "/ajax-api/2.0/mlflow/experiments/search"  # as MLflow's pages ask for what they show
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


def settings() -> dict[str, str]:
    """Return the settings of MLflow's server in `compose.yaml` that no database needs."""
    (config,) = documents((CLUSTER / "mlflow/compose.yaml").read_text())
    found = config["services"]["mlflow"]["environment"]
    wanted = {name: value for name, value in found.items() if name.startswith("MLFLOW_SERVER_")}
    return {name: value.replace("${MLFLOW_DOMAIN:?}", DOMAIN) for name, value in wanted.items()}


@contextmanager
def proxy(to: int) -> Iterator[int]:
    """Run a reverse proxy that passes on requests with their Host and Origin, as Caddy does; yield its port."""

    class Passing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            connection = http.client.HTTPConnection("127.0.0.1", to, timeout=60)
            connection.request("POST", self.path, body, dict(self.headers) | {"X-Forwarded-Proto": "https"})
            reply = connection.getresponse()
            content = reply.read()
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def post(port: int, host: str, origin: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Host": host, "Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
    connection.request("POST", SEARCH, json.dumps({"max_results": 10}), headers)
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


def test_its_own_pages_are_answered_and_others_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings().items():
        monkeypatch.setenv(name, value)
    with mlflow_server(tmp_path) as server, proxy(server.port) as port:
        status, answer = post(port, DOMAIN, f"https://{DOMAIN}")
        assert status == 200, answer
        assert "experiments" in json.loads(answer)
        assert post(port, DOMAIN, None)[0] == 200  # a search's own process sends no Origin
        for origin in ("https://evil.example", f"http://{DOMAIN}", f"https://{DOMAIN}.evil.example"):
            assert post(port, DOMAIN, origin)[0] == 403, origin
        assert post(port, "evil.example", f"https://{DOMAIN}")[0] == 403
