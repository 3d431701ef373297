"""Which searches are on a results folder, and which of them does what.

A driver that wants to do something writes `claims/<name>.<driver>` and then lists the claims. Each writes before it
lists, so at least one of two drivers sees the other's claim, and withdraws its own. Both may; then they try again after
random pauses. That holds on any storage whose listings show what was written before, without locks or conditional
writes.
"""

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from secrets import token_hex

from pydantic import TypeAdapter, ValidationError

from raysl.errors import ResultsError
from raysl.results.storage.processes import place, started
from raysl.results.storage.store import Store, warn_damaged

DRIVERS, CLAIMS = "drivers", "claims"
BEAT = 15.0  # seconds between two signs of life of a driver
GONE = 60.0  # seconds of watching a driver on another machine give none after which it counts as gone
TURN_PAUSES = 0.2, 1.0  # seconds, at random, between two attempts to have one's turn
LAST_BEAT = 10.0  # seconds that the end of a driver waits for a sign of life that is on its way


@dataclass(frozen=True)
class Driver:
    """A process that searches on a results folder.

    place: where its pid has a meaning; empty where that cannot be told.  started: what tells it from a later process
    of that pid.
    """

    id: str
    host: str
    pid: int
    place: str
    started: str

    def __str__(self) -> str:
        return f"{self.host}, pid {self.pid}"


_DRIVER = TypeAdapter(Driver)


class Leases:
    """What this driver has claimed on a results folder, until it ends; a context in which others see it.

    Claims may be taken and released in several threads.  Every method raises ResultsError where the folder cannot be
    read or written.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.driver = Driver(token_hex(8), socket.gethostname(), os.getpid(), place(), started(os.getpid()) or "")
        self._known: dict[str, Driver] = {}
        self._signs: dict[str, tuple[float, float]] = {}  # the last of each other driver, and when it was first seen
        self._beaten = 0.0
        self._ended = threading.Event()
        # A daemon: storage that does not answer must not keep the process alive.
        self._thread = threading.Thread(target=self._live, name="raysl-driver", daemon=True)

    def __enter__(self) -> "Leases":
        self._beat()
        self._thread.start()
        self.others()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(LAST_BEAT)
        with suppress(ResultsError):  # what stays there is that of a driver that is gone
            self._remove(self.driver.id)

    def others(self) -> list[Driver]:
        """Return the other drivers on the folder; what was left by those that are gone is removed.

        One on another machine is there until it was watched long enough: its clock may differ from all others.
        """
        found = []
        for name, at in self.store.modified(DRIVERS, ".json").items():
            driver = self._driver(name.removesuffix(".json"))
            if driver is None or driver.id == self.driver.id:
                continue
            if _lives(driver, self._silent(driver.id, at), self.driver.place):
                found.append(driver)
            else:
                self._remove(driver.id)
        return found

    def taken(self) -> dict[str, Driver]:
        """Return what other drivers have claimed, by its name; claims of those that are gone are removed."""
        # Before the drivers are listed: a claim's driver was there before it.
        claims = [claim.rpartition(".") for claim in self.store.list(CLAIMS, "")]
        foreign = [(name, owner) for name, _, owner in claims if owner != self.driver.id]
        if not foreign:
            return {}
        living = {driver.id: driver for driver in self.others()}
        taken = {}
        for name, owner in foreign:
            # A listing can miss a file that is being written anew.
            if driver := living.get(owner) or self._read(owner):
                taken[name] = driver
            else:
                self.store.delete(_claim_path(name, owner))
        return taken

    def claim(self, name: str) -> bool:
        """Claim something that no other driver has; False where one has, or claims it at this moment."""
        if time.time() - self._beaten > GONE / 2:  # this process was suspended, and may count as gone by now
            self._beat()
        self.store.write(_claim_path(name, self.driver.id), str(self.driver).encode())
        if name not in self.taken():
            return True
        self.release(name)
        return False

    def release(self, name: str) -> None:
        """Give up a claim."""
        self.store.delete(_claim_path(name, self.driver.id))

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Claim something for the time of this block, as soon as no other driver has it."""
        while not self.claim(name):
            time.sleep(random.uniform(*TURN_PAUSES))
        try:
            yield
        finally:
            self.release(name)

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(ResultsError):  # the next one may be written again
                self._beat()

    def _beat(self) -> None:
        self._beaten = time.time()
        self.store.write(_driver_path(self.driver.id), _DRIVER.dump_json(self.driver))

    def _remove(self, driver_id: str) -> None:
        for claim in self.store.list(CLAIMS, f".{driver_id}"):
            self.store.delete(f"{CLAIMS}/{claim}")
        self.store.delete(_driver_path(driver_id))

    def _driver(self, driver_id: str) -> Driver | None:
        driver = self._known.get(driver_id) or self._read(driver_id)
        if driver is not None:
            self._known[driver_id] = driver
        return driver

    def _silent(self, driver_id: str, at: float) -> float:
        """Return for how many seconds this process has seen no new sign of life of a driver; at: that of the last."""
        now = time.monotonic()
        last, since = self._signs.get(driver_id, (None, now))
        if last != at:
            self._signs[driver_id] = at, now
            return 0.0
        return now - since

    def _read(self, driver_id: str) -> Driver | None:
        path = _driver_path(driver_id)
        try:
            driver = _DRIVER.validate_json(self.store.read(path))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            warn_damaged(self.store.address(path), error.errors()[0]["msg"])
            return None
        if driver.id != driver_id:  # its claims and its file are removed by that name, once it is gone
            warn_damaged(self.store.address(path), f"holds driver {driver.id!r}")
            return None
        return driver


def _driver_path(driver_id: str) -> str:
    return f"{DRIVERS}/{driver_id}.json"


def _claim_path(name: str, driver_id: str) -> str:
    return f"{CLAIMS}/{name}.{driver_id}"


def _lives(driver: Driver, silent: float, here: str) -> bool:
    """Return whether a driver is there still.

    silent: seconds for which it was watched and gave no sign of life.  here: this process's place; there it is seen at
    once that one is killed, and one that was suspended together with this process is not taken for dead.
    """
    if not here or driver.place != here:
        return silent <= GONE
    try:
        os.kill(driver.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, whose start may be hidden
        return silent <= GONE
    return started(driver.pid) == driver.started
