"""Addresses of a cluster: `auto` or HOST:PORT on one of its nodes, http://HOST:8265 from outside."""

import socket
from urllib.parse import urlsplit

from raysl.errors import ResourcesError
from raysl.outgoing import learn_address, read_address

CONNECT_SECONDS = 5.0  # time limit for a cluster to accept a connection
JOB_SERVER = ("http", "https")
PORTS = {"http": 80, "https": 443}


def is_job_server(address: str | None) -> bool:
    """Return whether an address is that of a job server, which accepts searches from outside the cluster."""
    return address is not None and address.partition(":")[0].lower() in JOB_SERVER


def check_address(address: str | None) -> None:
    """Raise ResourcesError if an address is of a kind that no search can use."""
    scheme, separator, place = shown(address or "").partition("://")
    if not separator or (scheme in JOB_SERVER and place):
        return
    host = place.partition(":")[0] or "HOST"
    why = "the Ray Client cannot run Ray Tune's searches from here; " if scheme == "ray" else ""
    raise ResourcesError(
        f"--address {shown(address or '')}: {why}give http://{host}:8265, the cluster's dashboard, to search from "
        "outside, or auto on a node of the cluster"
    )


def no_cluster(address: str, error: Exception) -> ResourcesError:
    """Return the error to raise if Ray does not accept a connection."""
    text = str(error)
    # Other errors continue with advice that does not apply here; this one continues with the two versions.
    first = next(iter(text.splitlines()), type(error).__name__).partition(". ")[0]
    why = " ".join(text.split()) if "ersion mismatch" in text else first
    return ResourcesError(
        f"--address {shown(address)}: no Ray cluster answers there ({why}); "
        "where it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or ~/.ray/auth_token"
    )


def shown(address: str) -> str:
    """Return an address for display, without user, password and parameters."""
    learn_address(address)
    found = read_address(address)
    return address if found.shown == address else found.bare


def check_listening(address: str) -> None:
    """Raise ResourcesError if nothing listens at an address; Ray itself would try for minutes."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        raise ResourcesError(f"--address {shown(address)}: no host, or no port, is written so") from None
    if host is None or port is None:
        return  # `auto` and the like: Ray finds the address itself
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ResourcesError(
            f"--address {shown(address)}: no Ray cluster answers there ({error.strerror or error})"
        ) from None
