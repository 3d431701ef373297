"""Size and time of a file in a listing, and whether they identify its content."""

from typing import NamedTuple

# Seconds within which a file may be written again with the same time: the clock of a file system ticks some hundred
# times per second, that of an object store once.
_TICK, _COARSE_TICK = 0.05, 2.0
_SECOND = 10**9  # nanoseconds


class Stamp(NamedTuple):
    """A file in a listing.  size: bytes.  written: unix nanoseconds, by the clock of the storage."""

    size: int
    written: int

    def is_settled(self, now: float) -> bool:
        """Return whether the file is older than the storage clock's granularity, so that its stamp identifies it.

        now: unix seconds.  A newer file may be replaced without a change of its stamp.
        """
        tick = _TICK if self.written % _SECOND else _COARSE_TICK
        return self.written / _SECOND < now - tick
