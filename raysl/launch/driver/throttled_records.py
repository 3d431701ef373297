"""The records of stages to which configs are added, written as often as is cheap."""

import time

from raysl.results.records.stages import StageRecord, write_stage
from raysl.results.storage.store import Store

REST = 9.0  # times as long as a write took, so that a search of thousands of configs spends a tenth on it at most


class ThrottledRecords:
    """Records that say what a stage is made of so far.

    The whole record is written, and so not for each config: what was proposed is in `proposals/` before it is trained,
    and a search that comes back makes the record of that.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unwritten: dict[str, StageRecord] = {}  # by stage id
        self._next = 0.0

    def has(self, record: StageRecord) -> None:
        """Take note of a stage's record, and write it if that has not been done for a while."""
        self._unwritten[record.stage_id] = record
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write what is not written yet."""
        started = time.monotonic()
        for stage_id in list(self._unwritten):
            write_stage(self._store, self._unwritten.pop(stage_id))
        self._next = time.monotonic() + REST * (time.monotonic() - started)
