"""The leases and claims of the drivers on a results folder.

A driver claims a name by writing `claims/<name>.<driver>` and then listing the claims. Each driver writes before it
lists, so of two drivers at least one sees the other's claim, and withdraws its own. If both do, they try again after
random pauses. This needs no locks or conditional writes: it holds on any storage whose listings show all earlier
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
BEAT = 15.0  # seconds between two heartbeats of a driver
GONE = 60.0  # seconds without a heartbeat after which a driver on another machine counts as gone
TURN_PAUSES = 0.2, 1.0  # seconds, drawn at random, between two attempts to claim a name
LAST_BEAT = 10.0  # seconds that a driver that ends waits for a heartbeat that is being written


@dataclass(frozen=True)
class Driver:
    """A process that searches on a results folder.

    place: names the boot and the pid namespace that its pid belongs to; empty if unknown.
    started: when the process began, as text, which distinguishes it from a later process with the same pid.
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
    """The lease of this driver on a results folder, and its claims; a context manager that registers the driver.

    Claims may be taken and released in several threads.
    Every method raises ResultsError if the folder cannot be read or written.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.driver = Driver(token_hex(8), socket.gethostname(), os.getpid(), place(), started(os.getpid()) or "")
        self._known: dict[str, Driver] = {}
        # Of each other driver: the time of its last heartbeat, and when this process first saw that heartbeat.
        self._signs: dict[str, tuple[float, float]] = {}
        self._beaten = 0.0
        self._ended = threading.Event()
        # A daemon thread: storage that does not answer must not keep the process alive.
        self._thread = threading.Thread(target=self._live, name="raysl-driver", daemon=True)

    def __enter__(self) -> "Leases":
        self._beat()
        self._thread.start()
        self.others()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(LAST_BEAT)
        with suppress(ResultsError):  # other drivers remove what stays
            self._remove(self.driver.id)

    def others(self) -> list[Driver]:
        """Return the other drivers on the folder; files of drivers that are gone are removed.

        A driver on another machine counts as gone only after this process has seen no heartbeat of it for `GONE`
        seconds, because clocks of machines may differ.
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
        """Return the drivers of others' claims, by the claimed name; claims of drivers that are gone are removed."""
        # Claims are listed before the drivers, because a driver is registered before it claims.
        claims = [claim.rpartition(".") for claim in self.store.list(CLAIMS, "")]
        foreign = [(name, owner) for name, _, owner in claims if owner != self.driver.id]
        if not foreign:
            return {}
        living = {driver.id: driver for driver in self.others()}
        taken = {}
        for name, owner in foreign:
            # A listing can miss a file that is being rewritten.
            if driver := living.get(owner) or self._read(owner):
                taken[name] = driver
            else:
                self.store.delete(_claim_path(name, owner))
        return taken

    def claim(self, name: str) -> bool:
        """Claim a name; return False if another driver has claimed it, or does so at this moment."""
        if time.time() - self._beaten > GONE / 2:  # this process was suspended, and others may count it as gone
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
        """Claim a name for the time of this block, as soon as no other driver has claimed it."""
        while not self.claim(name):
            time.sleep(random.uniform(*TURN_PAUSES))
        try:
            yield
        finally:
            self.release(name)

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(ResultsError):  # the next heartbeat may succeed
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
        """Return for how many seconds this process has seen no new heartbeat of a driver; at: time of the last one."""
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
        if driver.id != driver_id:  # its claims and its file are removed by this id once it is gone
            warn_damaged(self.store.address(path), f"holds driver {driver.id!r}")
            return None
        return driver


def _driver_path(driver_id: str) -> str:
    return f"{DRIVERS}/{driver_id}.json"


def _claim_path(name: str, driver_id: str) -> str:
    return f"{CLAIMS}/{name}.{driver_id}"


def _lives(driver: Driver, silent: float, here: str) -> bool:
    """Return whether a driver still lives.

    silent: seconds for which this process has seen no heartbeat of it.
    here: this process's place.  A driver of the same place is looked up by its pid: a killed one is noticed at once,
        and one that was suspended together with this process does not count as gone.
    """
    if not here or driver.place != here:
        return silent <= GONE
    try:
        os.kill(driver.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process, whose start may be hidden
        return silent <= GONE
    return started(driver.pid) == driver.started
