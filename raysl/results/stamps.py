"""What a listing says of a file, and how far that can be trusted."""

from typing import NamedTuple

# Seconds within which a file may be written anew and look the same: a file system's clock ticks some hundred times
# in a second, an object store's once.
_TICK, _COARSE_TICK = 0.05, 2.0
_SECOND = 10**9  # nanoseconds


class Stamp(NamedTuple):
    """What a listing says of a file.  size: bytes.  written: unix nanoseconds, by the clock of the storage."""

    size: int
    written: int

    def is_settled(self, now: float) -> bool:
        """Return whether a file of this stamp is sure to be the one that was there at a time: unix seconds.

        One that is as young as the storage's clock is coarse may be replaced without a trace.
        """
        tick = _TICK if self.written % _SECOND else _COARSE_TICK
        return self.written / _SECOND < now - tick
