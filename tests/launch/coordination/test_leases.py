"""Claims on a results folder: nothing is had twice, and nothing is lost with a driver that is gone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server
from waiting import wait_for

from raysl.launch.coordination import claim_queue
from raysl.launch.coordination import leases as module
from raysl.launch.coordination.claim_queue import ClaimQueue
from raysl.launch.coordination.leases import Driver, Leases
from raysl.results.storage.store import Store

HOLDER = """
import sys, time
from raysl.launch.coordination.leases import Leases
from raysl.results.storage.store import Store
with Leases(Store.open(sys.argv[1], create=False)) as leases:
    print(leases.claim("a"), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "results"), create=True)


@pytest.fixture
def other(store: Store) -> Iterator[Leases]:
    with Leases(store) as leases:
        yield leases


def files(store: Store) -> list[str]:
    return [*store.list("drivers", ""), *store.list("claims", "")]


def stranger(store: Store, leases: Leases, **changes: str | int) -> Driver:
    """Write the presence of another driver, which claims `a`."""
    driver = replace(leases.driver, id="stranger", **changes)  # type: ignore[arg-type]
    store.write("drivers/stranger.json", json.dumps(asdict(driver)).encode())
    store.write("claims/a.stranger", b"")
    return driver


def age(store: Store, driver_id: str, seconds: float) -> None:
    """Let a driver's last sign of life be so many seconds before an hour ago."""
    path = store.local_path(f"drivers/{driver_id}.json")
    assert path is not None
    os.utime(path, (time.time() - 3600 - seconds,) * 2)


def test_what_one_has_claimed_another_has_only_after_it(own: Leases, other: Leases) -> None:
    assert own.claim("a")
    assert not other.claim("a")
    assert other.claim("a.b")
    assert other.taken() == {"a": own.driver}
    assert own.taken() == {"a.b": other.driver}
    own.release("a")
    assert other.claim("a")


def test_the_end_of_a_driver_frees_what_it_has_and_leaves_what_others_have(store: Store, own: Leases) -> None:
    with Leases(store) as other:
        assert other.claim("a")
        assert own.claim("b")
        assert [driver.id for driver in own.others()] == [other.driver.id]
    assert own.others() == []
    assert sorted(files(store)) == sorted([f"{own.driver.id}.json", f"b.{own.driver.id}"])


@pytest.mark.parametrize("is_buried", [True, False])
def test_what_a_killed_driver_had_is_free_at_once(store: Store, own: Leases, is_buried: bool) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, store.uri], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert not own.claim("a")
    holder.kill()
    holder.wait() if is_buried else os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert own.claim("a")
    assert sorted(files(store)) == sorted([f"{own.driver.id}.json", f"a.{own.driver.id}"])
    assert store.list("fenced", "") == [], "no process is left to be told"
    holder.communicate()


def test_a_suspended_driver_keeps_what_it_has(store: Store, own: Leases) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, store.uri], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    [driver] = own.others()
    age(store, driver.id, 1e6)
    assert not own.claim("a")
    holder.kill()
    holder.communicate()


@pytest.mark.parametrize("ahead", [-1e9, -7200, -100, 0, 3600, 1e9])
def test_a_driver_elsewhere_is_gone_when_it_was_watched_and_gave_no_sign_whatever_its_clock(
    store: Store, own: Leases, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    driver = stranger(store, own, place="another machine", pid=1)
    age(store, driver.id, -3600 - ahead)
    assert own.others() == [driver]
    assert not own.claim("a")
    monkeypatch.setattr(module, "GONE", 0.0)
    age(store, driver.id, -3600 - ahead - 15)
    assert own.others() == [driver], "it has just given a sign"
    time.sleep(0.01)
    assert own.others() == []
    assert own.claim("a")
    assert f"{driver.id}.json" not in files(store)


def test_a_driver_whose_clock_is_ahead_has_none_taken_for_gone(store: Store, own: Leases) -> None:
    """Of three machines, the third would judge the second by the clock of the first."""
    first = stranger(store, own, place="a machine", pid=1)
    store.write("drivers/second.json", json.dumps(asdict(replace(first, id="second", place="another"))).encode())
    age(store, first.id, -7200)
    assert {driver.id for driver in own.others()} == {"stranger", "second"}
    assert {driver.id for driver in own.others()} == {"stranger", "second"}


def test_a_process_that_has_the_number_of_a_killed_one_is_not_taken_for_it(store: Store, own: Leases) -> None:
    stranger(store, own, started="1")
    assert own.claim("a")


def test_a_claim_without_its_driver_counts_for_nothing(store: Store, own: Leases) -> None:
    store.write("claims/a.nobody", b"")
    assert own.claim("a")
    assert store.list("claims", "") == [f"a.{own.driver.id}"]


def test_a_driver_gives_signs_of_life(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.05)
    with Leases(store) as leases:
        name = f"{leases.driver.id}.json"
        age(store, leases.driver.id, 0)
        before = store.modified("drivers", "")[name]
        wait_for("sign of life", lambda: store.modified("drivers", "")[name] != before)
        assert store.modified("drivers", "")[name] > before + 1800


def test_a_suspended_driver_gives_a_sign_before_it_claims(store: Store, own: Leases) -> None:
    """Its next sign of life may be seconds away."""
    own._remove(own.driver.id)
    own._beaten -= 100
    assert own.claim("a")
    with Leases(store) as other:
        assert not other.claim("a")


def test_a_sign_of_life_on_its_way_hides_no_claim(store: Store, own: Leases, other: Leases) -> None:
    assert own.claim("a")
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            own._beat()

    with ThreadPoolExecutor() as pool:
        beating = pool.submit(beat)
        try:
            assert all(other.taken() == {"a": own.driver} for _ in range(300))
        finally:
            ended.set()
        beating.result()


def test_a_driver_that_a_listing_misses_is_there(own: Leases, other: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems may leave a file out that is replaced while its folder is listed."""
    assert own.claim("a")
    monkeypatch.setattr(other, "others", list)
    assert not other.claim("a")
    assert own.store.list("claims", "") == [f"a.{own.driver.id}"]


def test_turns_are_taken_one_after_the_other(own: Leases, other: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_PAUSES", (0.0, 0.01))
    inside: list[str] = []

    def take(leases: Leases) -> None:
        for _ in range(20):
            with leases.turn("a"):
                inside.append("in")
                time.sleep(0.001)
                inside.append("out")

    with ThreadPoolExecutor() as pool:
        list(pool.map(take, (own, other)))
    assert inside == ["in", "out"] * 40


@pytest.fixture(params=["local", "object store"])
def any_store(request: pytest.FixtureRequest, store: Store) -> Iterator[Store]:
    if request.param == "local":
        yield store
        return
    with s3_server() as server:
        yield Store.open(f"s3://{BUCKET}/results?{server.query}", create=True)


@pytest.mark.slow
def test_of_what_many_want_done_each_thing_is_done_once(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = any_store
    monkeypatch.setattr(claim_queue, "LOOKS", (0.0, 0.01))
    begun: list[int] = []
    told: Counter[tuple[int, int]] = Counter()

    def work(driver: int) -> list[int]:
        def is_done(item: int) -> bool:
            done = store.exists(f"done/{item}")
            told[driver, item] += done
            return done

        mine: list[int] = []
        with Leases(store) as leases:
            share = ClaimQueue(range(15), leases, str, is_done)
            while not share.is_empty:
                if (item := share.next()) is None:
                    time.sleep(0.001)
                    continue
                begun.append(item)
                mine.append(item)
                store.write(f"done/{item}", b"")
                share.ended(item)
        return mine

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(work, range(4)))
    assert sorted(begun) == list(range(15))
    assert all(set(mine) | {i for (d, i), n in told.items() if d == driver and n == 1} == set(range(15))
               for driver, mine in enumerate(done))  # fmt: skip
    assert files(store) == []


def test_what_another_leaves_undone_is_done_here(own: Leases, other: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_queue, "LOOKS", (0.0, 0.0))
    assert other.claim("0")
    share = ClaimQueue([0, 1], own, str, lambda item: False)
    assert share.next() == 1
    assert share.next() is None
    assert not share.is_empty
    other.release("0")
    assert share.next() == 0
    assert share.is_empty


def test_a_driver_by_another_name_removes_nothing(store: Store, own: Leases) -> None:
    store.write("stages/s0.json", b"{}")
    for name in ("../stages/s0", "other"):
        driver = replace(own.driver, id=name, pid=2**22 + 1)
        store.write("drivers/foreign.json", json.dumps(asdict(driver)).encode())
        assert own.others() == []
        assert own.taken() == {}
    assert store.exists("stages/s0.json")
