"""What the searches with a limit on a results folder have spent, in time and money: a JSON file per driver."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import TypeAdapter

from raysl.errors import ResultsError
from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.file_stat import Stamp
from raysl.results.storage.store import Store

FOLDER = "spending"

Time = Annotated[float, Ge(0), Le(1e11)]  # unix seconds; neither infinite nor NaN


@dataclass(frozen=True)
class Charge:
    """A node that a search pays for.

    node: an id that no other node of any cluster has.  price: USD per hour.  start, end: while it is paid for.
    """

    node: str
    price: Annotated[float, Ge(0), Le(1e9)]
    start: Time
    end: Time


@dataclass(frozen=True)
class Spending:
    """What a driver spends, of time from `start` to `end` and of money for nodes."""

    start: Time
    end: Time
    charges: tuple[Charge, ...] = ()


_SPENDING = TypeAdapter(Spending)


class SpendingRecords:
    """The records of all drivers on a results folder: this one's is written, the others' are read."""

    def __init__(self, store: Store, driver_id: str) -> None:
        self.store, self._name = store, f"{driver_id}.json"
        self._stamps: dict[str, Stamp] = {}
        self._others: dict[str, Spending] = {}

    def write(self, spending: Spending) -> None:
        """Write `spending/<driver>.json`."""
        write_record(self.store, f"{FOLDER}/{self._name}", _SPENDING, spending)

    def others(self) -> list[Spending]:
        """Return what the other drivers spend or have spent; only records that have changed are read again.

        Raises ResultsError if a record is damaged: a limit would then allow more than it says.
        """
        stamps = self.store.stamps(FOLDER, ".json")
        stamps.pop(self._name, None)
        for name, stamp in stamps.items():
            if name not in self._others or self._stamps[name] != stamp:
                self._others[name], self._stamps[name] = self._read(name), stamp
        self._others = {name: self._others[name] for name in stamps}
        return list(self._others.values())

    def _read(self, name: str) -> Spending:
        spending = read_record(self.store, f"{FOLDER}/{name}", _SPENDING)
        if spending is None:
            address = self.store.address(f"{FOLDER}/{name}")
            raise ResultsError(
                f"{address}: is damaged, so it is not known what was spent; delete it to count that as nothing"
            )
        return spending
