"""Ray's tokens: a local cluster has one of its own, and a cluster without tokens is not entered with one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from secrets import token_hex
from typing import Any

import ray._raylet

from raysl.errors import ResourcesError

MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
raylet: Any = ray._raylet  # without types
ANSWER_SECONDS = 5.0  # time limit for a cluster to say whether it asks for a token


@contextmanager
def own_token() -> Iterator[None]:
    """Have a cluster that starts in this block ask for a token of this process, unless the environment has one.

    Without it, Ray makes one token for all clusters, in the user's home, in a file that others may be able to read.
    The environment is as before afterwards: Ray leaves its mode there, which would not suit the next cluster.
    """
    before = {name: os.environ.get(name) for name in (MODE, TOKEN)}
    os.environ[TOKEN] = before[TOKEN] or _token()
    read_again()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        read_again()


@cache
def _token() -> str:
    return token_hex(32)


def read_again() -> None:
    """Have Ray read mode and token from the environment, which it does once otherwise."""
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


def check_mode(place: str, server: str) -> None:
    """Raise ResourcesError if this process gives a token to a cluster that asks for none.

    place: where the cluster was given, for the message.  server: host and port of its control server.
    Ray lets such a process in, but refuses what the cluster says to it, and ends each trial before it begins.
    """
    if raylet.get_authentication_mode() == raylet.AuthenticationMode.TOKEN and not _asks(server):
        raise ResourcesError(
            f"{place}: the cluster asks for no token, and this process would ask it for one; "
            f"set {MODE}=disabled here, or start the cluster with {MODE}=token"
        )


def _asks(server: str) -> bool:
    """Return whether a cluster asks for a token; True if that is not known."""
    try:
        import grpc  # not there without Ray's dashboard, which a cluster's nodes mostly have
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    except ImportError:
        return True
    with grpc.insecure_channel(server) as channel:
        service = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            request = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]
            service.CheckAlive(request, timeout=ANSWER_SECONDS)
        except grpc.RpcError:
            return True
    return False
