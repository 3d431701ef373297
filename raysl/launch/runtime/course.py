"""The order in which a search's work is done."""

import time
from collections import deque
from collections.abc import Iterator

from raysl.launch.runtime.tasks import Task, Work
from raysl.search.experiment import Resources


class Course:
    """A sequence of works of the same resources; each begins when the one before is done."""

    def __init__(self, work: Work, following: Iterator[Work | None], stay: float) -> None:
        """Do work, then the work that follows.

        stay: seconds for which idle processes are kept for the next work, while others still do the current one.
        """
        self.now, self.following, self.stay = work, following, stay
        self.handed_out: set[str] = set()
        self.is_over = False
        self.rest: Work | None = None  # the next work, if it takes other resources
        self._again: deque[Task] = deque()
        self._idle_since: float | None = None

    def next(self) -> Task | None:
        """Return the next task; None if there is none at this moment, or none any more (`is_over`)."""
        while not self.is_over and len(self.handed_out) < self.now.limit:
            if (task := self._again.popleft() if self._again else self.now.next()) is not None:
                self.handed_out.add(task.name)
                self._idle_since = None
                return task
            if self.handed_out and (self._stays() or not self.now.is_exhausted):
                return None
            if self.handed_out:
                self.is_over = True
            else:
                self._go_on()
        return None

    def _stays(self) -> bool:
        now = time.monotonic()
        self._idle_since = self._idle_since or now
        return now - self._idle_since < self.stay

    def _go_on(self) -> None:
        work = next(self.following, None)
        if work is not None and _shape(work.resources) == _shape(self.now.resources):
            self.now = work
        else:
            self.is_over, self.rest = True, work

    def again(self, task: Task) -> None:
        """Take back a task that is to be handed out again."""
        self.handed_out.discard(task.name)
        self._again.append(task)

    def ended(self, name: str) -> None:
        """Record that a task has ended."""
        self.handed_out.discard(name)
        self.now.ended(name)


def _shape(resources: Resources) -> tuple[int, int, float]:
    return resources.workers, resources.cpus, resources.gpus
