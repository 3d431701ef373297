"""Calls a function in regular intervals."""

from collections.abc import Callable
from threading import Event, Thread


class Repeated:
    """Calls a function every few seconds in a thread of its own, from `start` to `stop`."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        """Call nothing yet."""
        self._seconds, self._call = seconds, call
        self._over = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin; the first call comes after one interval."""
        self._thread = Thread(target=self._repeat, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; no call is under way afterwards."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _repeat(self) -> None:
        while not self._over.wait(self._seconds):
            self._call()
