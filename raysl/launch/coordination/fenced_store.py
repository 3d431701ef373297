"""The results folder as a driver writes to it: only while no other driver has fenced it."""

from collections.abc import Callable, Iterable

from raysl.results.storage.store import Store


class FencedStore(Store):
    """A results folder whose writes fail once another driver has fenced this one.

    Each write is checked twice.  The check before it keeps a fenced driver from replacing what others have written.
    The check after it makes a write that returns final: no driver had taken over, so one that does will read it.
    That check alone would be enough for names with a fencing token, but records of stages, selections and tables have
    none: a driver that was suspended between two writes would replace one of them by an older one before it is told.
    """

    def __init__(self, store: Store, verify: Callable[[], None]) -> None:
        """Open the same folder; verify: raises FencedError if this driver is fenced."""
        super().__init__(store.uri)
        self._verify = verify

    def write(self, path: str, content: bytes) -> None:
        """Write a file as a whole; raises FencedError if this driver is fenced."""
        self._verify()
        super().write(path, content)
        self._verify()

    def write_pieces(self, path: str, pieces: Iterable[bytes]) -> None:
        """Write a large file of pieces; raises FencedError if this driver is fenced."""
        self._verify()
        super().write_pieces(path, pieces)
        self._verify()

    def create(self, path: str, content: bytes) -> None:
        """Write a file unless it exists; raises FencedError if this driver is fenced."""
        self._verify()
        super().create(path, content)
        self._verify()

    def delete(self, path: str) -> None:
        """Delete a file, if it is there; raises FencedError if this driver is fenced."""
        self._verify()
        super().delete(path)
