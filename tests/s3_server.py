"""An object store on this machine, as MinIO's users have one: a real server that speaks S3."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeBucket, s3_backends
from moto.server import ThreadedMotoServer

KEY, SECRET = "AKIAEXAMPLE", "s3cr3t-and-not-to-be-seen"
BUCKET = "bucket"
REGION = "us-east-1"


class S3Server:
    """A server with one bucket; what it holds outlives a stop.

    busy: how many requests it still answers with a 503 alone.
    """

    def __init__(self) -> None:
        self.busy = 0
        self._start(0)
        _, self.port = self._server.get_host_and_port()
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(BUCKET, REGION)

    @property
    def host(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def query(self) -> str:
        """What an address ends with, to name this server."""
        return f"endpoint_override={self.host}&scheme=http&region={REGION}"

    @property
    def bucket(self) -> FakeBucket:
        """The bucket, as the server has it."""
        bucket: FakeBucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET]
        return bucket

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return what the bucket holds, by key."""
        return {key: value.value for key, value in self.bucket.keys.items() if key.startswith(prefix)}

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()

    def start(self) -> None:
        """Answer again, at the same port."""
        self._start(self.port)

    def _start(self, port: int) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        self._server.start()
        served = self._server._server
        assert served is not None
        app = served.app

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if self.busy:
                self.busy -= 1
                start_response("503 Slow Down", [("Content-Length", "0")])
                return [b""]
            return app(environ, start_response)

        served.app = answer


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server; within the block this process and those that it starts have the keys to it, and its address."""
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{server.host}")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        yield server
        server.stop()
    s3_backends.reset()
