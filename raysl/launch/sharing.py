"""What several drivers on a results folder all want done, and one of them does."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from raysl.launch.leases import Leases

T = TypeVar("T")
LOOKS = 1.0, 3.0  # seconds, at random, between two looks at what others do


class Share(Generic[T]):
    """Hands out what there is to do, each thing to one driver; what another does is looked at again later."""

    def __init__(
        self,
        things: Iterable[T],
        leases: Leases,
        name: Callable[[T], str],
        is_done: Callable[[T], bool],
        again: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what there is to do.

        name: what a thing is claimed by; of several things of one name, one is handed out at a time.
        is_done: whether a thing is done by now, by whomever; asked before it is claimed, and once more when it is.
        again: called before what others do is looked at again.
        """
        self.waiting = deque(things)
        self.elsewhere: list[T] = []
        self.leases, self.name, self.is_done, self.again = leases, name, is_done, again
        self._here: dict[str, list[T]] = {}  # by the name of what is handed out: things of that name that wait for it
        self._look_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to do but what was handed out here."""
        return not self.waiting and not self.elsewhere and not any(self._here.values())

    def next(self) -> T | None:
        """Return the next thing to do here, which is claimed then; None where there is none at this moment."""
        if self.elsewhere and time.monotonic() >= self._look_at:
            self.waiting.extend(self.elsewhere)
            self.elsewhere.clear()
            self.again()
            self._look_at = time.monotonic() + random.uniform(*LOOKS)
        taken = self.leases.taken() if self.waiting else {}
        while self.waiting:
            thing = self.waiting.popleft()
            if (name := self.name(thing)) in self._here:
                self._here[name].append(thing)
            elif name in taken:
                self.elsewhere.append(thing)
            elif not self.is_done(thing) and self._is_had(thing):
                return thing
        return None

    def ended(self, thing: T) -> None:
        """Let others have something that was handed out here: it is done, or has failed."""
        self.waiting.extendleft(self._here.pop(self.name(thing)))
        self.leases.release(self.name(thing))

    def _is_had(self, thing: T) -> bool:
        if not self.leases.claim(self.name(thing)):
            self.elsewhere.append(thing)
            return False
        self._here[self.name(thing)] = []
        if not self.is_done(thing):
            return True
        self.ended(thing)  # another driver has done it since it was looked at
        return False
