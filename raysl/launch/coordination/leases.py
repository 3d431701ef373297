"""The leases and claims of the drivers on a results folder.

A driver claims a name by writing `claims/<name>.<driver>` and then listing the claims. Each driver writes before it
lists, so of two drivers at least one sees the other's claim, and withdraws its own. If both do, they try again after
random pauses. This needs no locks or conditional writes: it holds on any storage whose listings show all earlier
writes.

A driver that was silent for too long is fenced before its claims are taken away: `fenced/<driver>` is written. Whoever
takes over reads the folder after that; the silent driver looks for that file after each of its writes. So either the
write is read, or the silent driver learns of the fence and stops: the order of these steps decides, and no clock.
Where both may write the same fact, its file's name holds a fencing token, which grows with each claim.
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
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from raysl.errors import FencedError, ResultsError
from raysl.launch.coordination.fenced_store import FencedStore
from raysl.results.storage.processes import place, started
from raysl.results.storage.store import Store, warn_damaged

DRIVERS, CLAIMS, FENCED, TOKENS = "drivers", "claims", "fenced", "tokens"
BEAT = 15.0  # seconds between two heartbeats of a driver
GONE = 60.0  # seconds without a heartbeat after which a driver on another machine counts as gone
WATCHED = 2 * BEAT  # seconds between two looks at the drivers that count as watching, at most
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

    store: the folder, for the driver's writes, which fail once it is fenced.
    folder: the same, for what is this driver's own and may be written even then.
    Claims may be taken and released in several threads.
    Every method raises ResultsError if the folder cannot be read or written.
    """

    def __init__(self, store: Store) -> None:
        self.store = FencedStore(store, self.verify)
        self.folder = store
        self._fenced_by: str | None = None  # the driver that has fenced this one
        self.driver = Driver(token_hex(8), socket.gethostname(), os.getpid(), place(), started(os.getpid()) or "")
        self._known: dict[str, Driver] = {}
        # Of each other driver: the time of its last heartbeat, the seconds watched since, and when this process looked.
        self._signs: dict[str, tuple[float | None, float, float]] = {}
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
            if self._fenced_by is not None:  # it has been told
                self.folder.delete(_fence_path(self.driver.id))

    def check(self) -> None:
        """Raise FencedError if this driver knows that it is fenced; reads nothing."""
        if self._fenced_by is not None:
            limit = f"no sign of life for {GONE:g} s (suspended, or cut off from the results folder)"
            raise FencedError(f"this search gave {limit}, so that of {self._fenced_by} has taken over its work")

    def verify(self) -> None:
        """Raise FencedError if this driver is fenced, as the results folder shows it now."""
        if self._fenced_by is None:
            with suppress(FileNotFoundError):
                self._fenced_by = self.folder.read(_fence_path(self.driver.id)).decode(errors="replace")
        self.check()

    def others(self) -> list[Driver]:
        """Return the other drivers on the folder; files of drivers that are gone are removed.

        A driver on another machine counts as gone only after this process has seen no heartbeat of it for `GONE`
        seconds, because clocks of machines may differ.  It is fenced then.
        """
        signs = {name.removesuffix(".json"): at for name, at in self.folder.modified(DRIVERS, ".json").items()}
        signs.pop(self.driver.id, None)
        fenced = self.folder.list(FENCED, "") if signs else []
        found = []
        for driver_id, at in signs.items():
            driver = self._driver(driver_id)
            if driver is None:
                continue
            state = _state(driver, self._silent(driver.id, at), self.driver.place)
            if state == "alive" and driver.id not in fenced:
                found.append(driver)
                continue
            if state == "silent":
                self._fence(driver.id)
            self._remove(driver.id)
        return found

    def taken(self) -> dict[str, Driver]:
        """Return the drivers of others' claims, by the claimed name; claims of drivers that are gone are removed."""
        # Claims are listed before the drivers, because a driver is registered before it claims.
        claims = [claim.rpartition(".") for claim in self.folder.list(CLAIMS, "")]
        foreign = [(name, owner) for name, _, owner in claims if owner != self.driver.id]
        if not foreign:
            return {}
        living = {driver.id: driver for driver in self.others()}
        taken = {}
        for name, owner in foreign:
            if driver := living.get(owner) or self._unlisted(owner):
                taken[name] = driver
            elif self.folder.exists(path := _claim_path(name, owner)):
                self._fence(owner)
                self.folder.delete(path)
        return taken

    def claim(self, name: str) -> bool:
        """Claim a name; return False if another driver has claimed it, or does so at this moment.

        Raises FencedError if this driver is fenced.
        """
        if time.time() - self._beaten > GONE / 2:  # this process was suspended, and others may count it as gone
            self._beat()
        self.folder.write(_claim_path(name, self.driver.id), str(self.driver).encode())
        self.verify()
        if name not in self.taken():
            return True
        self.release(name)
        return False

    def release(self, name: str) -> None:
        """Give up a claim."""
        self.folder.delete(_claim_path(name, self.driver.id))

    def token(self, name: str) -> int:
        """Return a fencing token of a name that this driver has claimed: greater than all earlier ones of the name.

        Raises FencedError if this driver is fenced.
        """
        parts = [file.rpartition(".") for file in self.folder.list(TOKENS, "")]
        earlier = [int(number) for owner, _, number in parts if owner == name and number.isdecimal()]
        token = max(earlier, default=0) + 1
        self.store.write(_token_path(name, token), str(self.driver).encode())
        for one in earlier:
            self.folder.delete(_token_path(name, one))
        return token

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
            try:
                self._beat()
                self.others()  # a silent driver may hold what this one waits for
            except FencedError:  # `check` tells the driver
                return
            except ResultsError:  # the next heartbeat may succeed
                continue

    def _beat(self) -> None:
        self._beaten = time.time()
        self.folder.write(_driver_path(self.driver.id), _DRIVER.dump_json(self.driver))
        self.verify()

    def _fence(self, driver_id: str) -> None:
        self.folder.write(_fence_path(driver_id), str(self.driver).encode())

    def _remove(self, driver_id: str) -> None:
        for claim in self.folder.list(CLAIMS, f".{driver_id}"):
            self.folder.delete(f"{CLAIMS}/{claim}")
        self.folder.delete(_driver_path(driver_id))

    def _unlisted(self, driver_id: str) -> Driver | None:
        """Return a driver that a listing has missed, as one can while the driver's file is rewritten."""
        return None if self.folder.exists(_fence_path(driver_id)) else self._read(driver_id)

    def _driver(self, driver_id: str) -> Driver | None:
        driver = self._known.get(driver_id) or self._read(driver_id)
        if driver is not None:
            self._known[driver_id] = driver
        return driver

    def _silent(self, driver_id: str, at: float) -> float:
        """Return for how many seconds this process has seen no new heartbeat of a driver; at: time of the last one.

        Time in which it could not look, suspended or cut off from the folder, does not count: else two drivers that
        were cut off together would fence each other.
        """
        now = time.monotonic()
        last, silent, looked = self._signs.get(driver_id, (None, 0.0, now))
        silent = silent + min(now - looked, WATCHED) if last == at else 0.0
        self._signs[driver_id] = at, silent, now
        return silent

    def _read(self, driver_id: str) -> Driver | None:
        path = _driver_path(driver_id)
        try:
            driver = _DRIVER.validate_json(self.folder.read(path))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            warn_damaged(self.folder.address(path), error.errors()[0]["msg"])
            return None
        if driver.id != driver_id:  # its claims and its file are removed by this id once it is gone
            warn_damaged(self.folder.address(path), f"holds driver {driver.id!r}")
            return None
        return driver


def _driver_path(driver_id: str) -> str:
    return f"{DRIVERS}/{driver_id}.json"


def _claim_path(name: str, driver_id: str) -> str:
    return f"{CLAIMS}/{name}.{driver_id}"


def _fence_path(driver_id: str) -> str:
    return f"{FENCED}/{driver_id}"


def _token_path(name: str, token: int) -> str:
    return f"{TOKENS}/{name}.{token}"


def _state(driver: Driver, silent: float, here: str) -> Literal["alive", "silent", "dead"]:
    """Return whether a driver still lives; a dead one has no process any more, a silent one may still have it.

    silent: seconds for which this process has seen no heartbeat of it.
    here: this process's place.  A driver of the same place is looked up by its pid: a killed one is noticed at once,
        and one that was suspended together with this process does not count as gone.
    """
    by_signs: Literal["alive", "silent"] = "alive" if silent <= GONE else "silent"
    if not here or driver.place != here:
        return by_signs
    try:
        os.kill(driver.pid, 0)
    except ProcessLookupError:
        return "dead"
    except PermissionError:  # another user's process, whose start may be hidden
        return by_signs
    return "alive" if started(driver.pid) == driver.started else "dead"
