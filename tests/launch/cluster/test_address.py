"""Addresses of clusters: what is refused, and how."""

import socket

import pytest

from raysl.errors import ResourcesError
from raysl.launch.cluster.address import check_address, check_listening, is_job_server, no_cluster


@pytest.mark.parametrize("address", [None, "auto", "10.0.0.1:6379", "http://head:8265", "https://ray.example.org/a"])
def test_addresses_that_a_search_can_use(address: str | None) -> None:
    check_address(address)
    assert is_job_server(address) == (address is not None and address.startswith("http"))


@pytest.mark.parametrize("address", ["ray://head:10001", "htp://head:8265", "http://", "ray://"])
def test_others_are_refused_with_what_to_give_instead(address: str) -> None:
    with pytest.raises(ResourcesError) as caught:
        check_address(address)
    host = "head" if "head" in address else "HOST"
    assert f"http://{host}:8265" in str(caught.value)
    assert "auto" in str(caught.value)
    assert ("Ray Client" in str(caught.value)) == address.startswith("ray://")


def test_a_place_where_nothing_listens_is_named_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"http://me:secret@127.0.0.1:{port}"):
            with pytest.raises(ResourcesError, match=f"127.0.0.1:{port}: no Ray cluster answers") as caught:
                check_listening(address)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://alice:s3cretpw@[::1",
        "http://alice:s3cretpw@head:99999",
        "http://s3cretpw@head:x",
        "http://head:x?token=s3cretpw",
        "alice:s3cretpw@head:99999",
        "ray://s3cretpw@head:10001",
        "ray://alice:s3cretpw@head:10001",
        "htp://head/#s3cretpw",
    ],
)
def test_no_address_that_is_refused_shows_its_secret(address: str) -> None:
    said = []
    for check in (check_address, check_listening):
        try:
            check(address)
        except ResourcesError as error:
            said.append(str(error))
    assert said
    assert "s3cretpw" not in "".join(said)
    assert "s3cretpw" not in str(no_cluster(address, ConnectionError(f"cannot reach {address}/api/version")))


def test_a_place_where_something_listens_is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_listening(f"127.0.0.1:{server.getsockname()[1]}")
        check_listening(f"http://127.0.0.1:{server.getsockname()[1]}/below")
    check_listening("auto")


def test_a_port_that_cannot_be_is_a_mistake_of_the_users() -> None:
    with pytest.raises(ResourcesError, match="port"):
        check_listening("http://head:99999")


def test_another_version_of_ray_is_said_with_both_versions() -> None:
    error = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.61.0\nThis process:\n    Ray: 2.60.0"
    )
    assert "Ray: 2.61.0 This process: Ray: 2.60.0" in str(no_cluster("auto", error))
    assert "advice" not in str(no_cluster("auto", ConnectionError("gone\nadvice")))
    assert "advice" not in str(no_cluster("auto", ConnectionError("No token was found. Some advice: ...")))
    assert "(OSError)" in str(no_cluster("auto", OSError()))
