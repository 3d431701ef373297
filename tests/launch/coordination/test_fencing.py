"""A driver that others took for gone is told, and nothing of it replaces what its successors wrote."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server
from waiting import wait_for

from raysl.errors import FencedError
from raysl.launch.coordination import leases as module
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.connection import Connection
from raysl.launch.driver.observer import Observer
from raysl.launch.driver.options import Options
from raysl.results.records.proposals import Proposal, read_proposals, write_proposal
from raysl.results.storage.store import Store

MOMENTS = ["before the check", "before the write", "before the check after it", "afterwards"]


@pytest.fixture(params=["local", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield Store.open(str(tmp_path / "results"), create=True)
        return
    with s3_server() as server:
        yield Store.open(f"s3://{BUCKET}/results?{server.query}", create=True)


class Nobody(Observer):
    """An observer of nothing."""


def elsewhere(store: Store) -> Leases:
    """Return the leases of a driver on another machine, which gives no signs of life but the first."""
    leases = Leases(store)
    leases.driver = replace(leases.driver, place="another machine")
    return leases


@pytest.fixture
def silent(store: Store) -> Iterator[Leases]:
    with elsewhere(store) as leases:
        yield leases


@pytest.fixture
def take_over(own: Leases, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a driver take all others for gone."""

    def take() -> None:
        own.others()  # sees their last signs of life
        time.sleep(0.01)
        with monkeypatch.context() as patch:
            patch.setattr(module, "GONE", 0.0)
            assert own.others() == []

    return take


def test_a_silent_driver_is_told_and_changes_nothing(
    store: Store, own: Leases, silent: Leases, take_over: Callable[[], None]
) -> None:
    assert silent.claim("a")
    silent.store.write("fact", b"old")
    take_over()
    assert own.claim("a")
    own.store.write("fact", b"new")
    for change in (
        lambda: silent.store.write("fact", b"stale"),
        lambda: silent.store.write_pieces("fact", [b"stale"]),
        lambda: silent.store.create("another", b"stale"),
        lambda: silent.store.delete("fact"),
        lambda: silent.claim("b"),
        lambda: silent.token("b"),
        silent.check,
    ):
        with pytest.raises(FencedError, match=f"that of {own.driver.host}, pid .* has taken over its work"):
            change()
    assert store.read("fact") == b"new"
    assert not store.exists("another")
    own.store.write("fact", b"newer")


def test_a_fenced_driver_does_not_come_back(
    store: Store, own: Leases, silent: Leases, take_over: Callable[[], None]
) -> None:
    take_over()
    with pytest.raises(FencedError):
        silent._beat()
    store.write(f"claims/a.{silent.driver.id}", b"")
    assert own.claim("a")
    assert own.others() == []
    assert store.list("drivers", "") == [f"{own.driver.id}.json"]


def test_its_sign_of_life_on_the_way_keeps_no_claim(
    store: Store, own: Leases, silent: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert silent.claim("a")
    own._fence(silent.driver.id)
    monkeypatch.setattr(own, "others", list)  # listed before its file was there again
    assert own.claim("a")


def test_it_leaves_nothing_when_it_has_been_told(store: Store, own: Leases, take_over: Callable[[], None]) -> None:
    with elsewhere(store) as told, elsewhere(store) as untold:
        take_over()
        with pytest.raises(FencedError):
            told.verify()
    assert store.list("fenced", "") == [untold.driver.id]
    assert store.list("drivers", "") == [f"{own.driver.id}.json"]


def test_its_next_sign_of_life_tells_it(
    store: Store, take_over: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with elsewhere(store) as silent:
        take_over()
        silent.check()
        monkeypatch.setattr(module, "BEAT", 0.01)
    with elsewhere(store) as silent:
        store.write(f"fenced/{silent.driver.id}", b"another, pid 1")
        wait_for("end of the signs", lambda: not silent._thread.is_alive())
        with pytest.raises(FencedError, match="that of another, pid 1 has taken over"):
            silent.check()


def test_a_driver_that_trains_is_stopped_between_its_writes(
    store: Store, silent: Leases, take_over: Callable[[], None]
) -> None:
    with ExitStack() as stack:
        connection = Connection(Options(backend="inline"), [], silent, Nobody(), stack)
        take_over()
        connection.check_limits()
        with pytest.raises(FencedError):
            silent.verify()
        with pytest.raises(FencedError):
            connection.check_limits()


def test_a_driver_that_only_waits_fences_silent_ones(
    store: Store, silent: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)
    monkeypatch.setattr(module, "GONE", 0.05)
    with Leases(store):
        wait_for("fence", lambda: store.list("fenced", "") == [silent.driver.id])


def test_a_driver_that_could_not_look_itself_fences_nobody(
    own: Leases, silent: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two that were cut off from the folder together would fence each other."""
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    seen = []
    for seconds in (0, 1000, 20, 20):
        clock[0] += seconds
        seen.append(len(own.others()))
    assert seen == [1, 1, 1, 0]


def test_a_claim_is_taken_from_a_fenced_driver_alone(store: Store, own: Leases, silent: Leases) -> None:
    """Its file may be damaged, and then nobody knows whether it lives."""
    assert silent.claim("a")
    store.delete(f"drivers/{silent.driver.id}.json")
    assert own.claim("a")
    with pytest.raises(FencedError):
        silent.verify()


def test_tokens_grow_whoever_takes_them(store: Store, own: Leases, silent: Leases) -> None:
    taken = [leases.token("a") for leases in (own, silent, own, own)]
    assert taken == sorted(set(taken))
    assert store.list("tokens", "") == [f"a.{taken[-1]}"]
    store.write("tokens/a.ten", b"")
    store.write("tokens/a.b.70", b"")
    for _ in range(8):
        taken.append(silent.token("a"))
    assert taken == sorted(set(taken))
    assert max(taken) < 70
    assert own.token("a.b") > 70


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_proposal_that_was_written_is_read_and_one_that_was_not_is_not_trained(
    store: Store, own: Leases, silent: Leases, take_over: Callable[[], None], moment: str
) -> None:
    """Suspended at any moment of its write, as long as it takes another to propose."""
    name = "stage"
    tokens = [silent.token(name)]
    write_proposal(silent.store, name, 0, tokens[0], Proposal({"lr": 0.0}, ()))

    def successor() -> None:
        take_over()
        tokens.append(own.token(name))
        for number in range(len(read_proposals(store, name)), 3):
            write_proposal(own.store, name, number, tokens[1], Proposal({"lr": 10.0 + number}, ()))

    moments = iter(MOMENTS)
    verify, write = silent.verify, Store.write

    def at_each_moment(step: Callable[[], None]) -> None:
        if next(moments) == moment:
            successor()
        step()

    silent.store._verify = lambda: at_each_moment(verify)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Store,
            "write",
            lambda of, path, content: (
                at_each_moment(lambda: write(of, path, content)) if of is silent.store else write(of, path, content)
            ),
        )
        try:
            write_proposal(silent.store, name, 1, tokens[0], Proposal({"lr": 1.0}, ()))
            trained = [0.0, 1.0]
        except FencedError:
            trained = [0.0]
    if moment == "afterwards":
        successor()
    found = [proposal.params["lr"] for proposal in read_proposals(store, name)]
    assert found[: len(trained)] == trained
    assert found[-1] == 12.0, "none of the successor's is lost"
    assert len(found) == 3


def test_of_many_that_write_the_same_each_learns_whether_it_counts(store: Store) -> None:
    """Each takes those before it for gone, while they write."""
    drivers = [elsewhere(store) for _ in range(4)]
    for driver in drivers:
        driver.__enter__()

    def write(place: int) -> int | None:
        driver = drivers[place]
        try:
            for earlier in drivers[:place]:
                driver._fence(earlier.driver.id)
            if read_proposals(store, "stage"):
                return None
            write_proposal(driver.store, "stage", 0, place, Proposal({"driver": place}, ()))
        except FencedError:
            return None
        return place

    with ThreadPoolExecutor() as pool:
        counting = [place for place in pool.map(write, range(4)) if place is not None]
    for driver in drivers:
        driver.__exit__()
    [proposal] = read_proposals(store, "stage")
    assert [proposal.params["driver"]] == counting or not counting
