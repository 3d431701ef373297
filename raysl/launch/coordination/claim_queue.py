"""A queue of items that several drivers on a results folder want done, each by one of them."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from raysl.launch.coordination.leases import Leases

T = TypeVar("T")
LOOKS = 1.0, 3.0  # seconds, drawn at random, between two checks of the items that other drivers have claimed


class ClaimQueue(Generic[T]):
    """Hands out each item to one driver; items that another driver has claimed are checked again later."""

    def __init__(
        self,
        items: Iterable[T],
        leases: Leases,
        name: Callable[[T], str],
        is_done: Callable[[T], bool],
        again: Callable[[], None] = lambda: None,
    ) -> None:
        """Queue items.

        name: the name that an item is claimed by; of several items of one name, one is handed out at a time.
        is_done: whether any driver has done an item; called before the item is claimed, and again afterwards.
        again: called before items that other drivers have claimed are checked again.
        """
        self.waiting = deque(items)
        self.elsewhere: list[T] = []
        self.leases, self.name, self.is_done, self.again = leases, name, is_done, again
        # By the name of an item that is handed out: the items of the same name that wait for it.
        self._here: dict[str, list[T]] = {}
        self._look_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether all items are done or handed out here."""
        return not self.waiting and not self.elsewhere and not any(self._here.values())

    def next(self) -> T | None:
        """Return the next item, which is then claimed; None if there is none at this moment."""
        if self.elsewhere and time.monotonic() >= self._look_at:
            self.waiting.extend(self.elsewhere)
            self.elsewhere.clear()
            self.again()
            self._look_at = time.monotonic() + random.uniform(*LOOKS)
        taken = self.leases.taken() if self.waiting else {}
        while self.waiting:
            item = self.waiting.popleft()
            if (name := self.name(item)) in self._here:
                self._here[name].append(item)
            elif name in taken:
                self.elsewhere.append(item)
            elif not self.is_done(item) and self._is_had(item):
                return item
        return None

    def ended(self, item: T) -> None:
        """Release an item that was handed out here and is done or has failed."""
        self.waiting.extendleft(self._here.pop(self.name(item)))
        self.leases.release(self.name(item))

    def _is_had(self, item: T) -> bool:
        if not self.leases.claim(self.name(item)):
            self.elsewhere.append(item)
            return False
        self._here[self.name(item)] = []
        if not self.is_done(item):
            return True
        self.ended(item)  # another driver has done it since the check
        return False
