"""The records of stages to which trials are added, written at a limited rate."""

import time

from raysl.results.records.stages import StageRecord, write_stage
from raysl.results.storage.store import Store

REST = 9.0  # pause after a write, as a multiple of its duration: writing takes a tenth of the time at most


class ThrottledRecords:
    """The records of stages whose configs are proposed one by one or raced, or whose grid grows.

    Each write is of the whole record, so not every config causes one.  Nothing is lost: proposals are in `proposals/`
    before they are trained, and a resumed search rebuilds the record from them, or that of a race or a grid from rows.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unwritten: dict[str, StageRecord] = {}  # by stage id
        self._next = 0.0

    def has(self, record: StageRecord) -> None:
        """Note the current record of a stage; write all noted records if the pause after the last write is over."""
        self._unwritten[record.stage_id] = record
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write all records that are not written yet."""
        started = time.monotonic()
        for stage_id in list(self._unwritten):
            write_stage(self._store, self._unwritten.pop(stage_id))
        self._next = time.monotonic() + REST * (time.monotonic() - started)
