"""The state that all parts of a search share: its results folder, observer, connection and outcome."""

import random
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from typing import TypeVar

from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.connection import Connection
from raysl.launch.driver.observer import Observer
from raysl.launch.driver.options import Options, Outcome
from raysl.launch.runtime.tasks import Work
from raysl.results.records.rows import TrialRow
from raysl.results.records.spending import SpendingRecords
from raysl.search.experiment import Experiment
from raysl.search.shared_weights import SharedWeights

LOOKS = 0.5, 1.5  # seconds, drawn at random, between two checks while waiting

T = TypeVar("T")
Working = Generator[Work | None, None, T]  # yields work; None releases the processes that are held


class Session:
    """A search of this process on a results folder.

    stack: closed when the search ends.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment],
        leases: Leases,
        options: Options,
        observer: Observer,
        changed: Callable[[Outcome], None],
    ) -> None:
        """Begin a search of experiments.

        leases: on the results folder.  changed: called whenever the folder holds something new.
        """
        self.experiments, self.leases, self.store = experiments, leases, leases.store
        self.options, self.observer = options, observer
        self.outcome = Outcome()
        self.stack = ExitStack()
        options.limits.record_in(SpendingRecords(leases.folder, leases.driver.id))
        self.stack.callback(options.limits.close)
        self.connection = Connection(options, experiments, leases, observer, self.stack)
        self.weights = SharedWeights(self.store, own_code=options.retrain == "code")
        self._changed = changed
        self._seen: set[str] = set()  # ids of other drivers

    def changed(self) -> None:
        """Report that the results folder holds something new."""
        self._changed(self.outcome)

    def wait(self, what: str) -> Working[None]:
        """Release processes, and wait for a moment for another search; what: text about it, for the observer."""
        yield None
        self.observer.waiting(what)
        self.connection.check_limits()
        time.sleep(random.uniform(*LOOKS))

    def limit(self, experiment: Experiment) -> int:
        """Return how many trials of an experiment run at once."""
        capacity = self.connection.capacity(experiment)
        return min(capacity, self.options.max_concurrent or capacity)

    def look_around(self) -> None:
        """Report other searches on the folder to the observer, each once."""
        for driver in self.leases.others():
            if driver.id not in self._seen:
                self._seen.add(driver.id)
                self.observer.other_search(str(driver))

    def trial_found(self, row: TrialRow) -> None:
        """Record a trial that ended without being trained here, and tell the observer."""
        self.look_around()
        self.observer.trial_ended(row)
        self.trial_ended(row)

    def trial_ended(self, row: TrialRow) -> None:
        """Record a trial that the observer was already told of."""
        if row.status == "failed":
            self.outcome.failed.append(row)
        self.changed()
