"""An estimate of how long a search still takes, from the trials that run and those that have ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean


@dataclass
class _Running:
    group: str
    started: float
    fraction: float = 0.0
    seen: float = 0.0  # when the fraction was reached


class RemainingTime:
    """Estimates the seconds until all trials have ended.

    Trials of one group, such as those of a stage, are taken to last equally long.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without trials; clock: returns seconds."""
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._ended: dict[str, list[float]] = {}  # seconds of the trials of a group
        self._at_once = 1  # how many ran when the last one began

    def started(self, trial_id: str, group: str) -> None:
        """A trial begins, or begins again."""
        self._running[trial_id] = _Running(group, self._clock())
        self._at_once = len(self._running)

    def progressed(self, trial_id: str, fraction: float) -> None:
        """A trial has done a fraction of its training."""
        if (trial := self._running.get(trial_id)) is not None:
            trial.fraction, trial.seen = fraction, self._clock()

    def ended(self, trial_id: str, *, whole: bool = True) -> None:
        """A trial has ended.

        whole: whether it was trained to its end; only then does its time count for other trials.
        """
        trial = self._running.pop(trial_id, None)
        if trial is not None and whole:
            self._ended.setdefault(trial.group, []).append(self._clock() - trial.started)

    def seconds(self, waiting: dict[str, int]) -> float | None:
        """Return the seconds until all trials have ended; None if nothing is known yet.

        waiting: the numbers of trials that have not begun, by group.  They are taken to run as many at a time as when
        the last one began.
        """
        now = self._clock()
        lengths = self._lengths()
        if not lengths:
            return None
        typical = fmean(lengths.values())
        left = [self._left(one, lengths.get(one.group, typical), now) for one in list(self._running.values())]
        later = sum(number * lengths.get(group, typical) for group, number in waiting.items())
        return max((sum(left) + later) / self._at_once, max(left, default=0.0))

    def _lengths(self) -> dict[str, float]:
        """Return the mean seconds of a trial of each group that has one which ended, or is on its way."""
        found: dict[str, list[float]] = {}
        for trial in list(self._running.values()):
            if trial.fraction > 0:
                found.setdefault(trial.group, []).append((trial.seen - trial.started) / trial.fraction)
        return {group: fmean(values) for group, values in (found | dict(self._ended)).items()}

    def _left(self, trial: _Running, length: float, now: float) -> float:
        """Return the seconds that a running trial still takes; length: of a trial of its group.

        The further it has come, the more its own pace counts: before that, much of its time was its start.
        """
        own = (trial.seen - trial.started) / trial.fraction if trial.fraction > 0 else length
        expected = trial.fraction * own + (1 - trial.fraction) * length
        done = trial.fraction * expected + now - (trial.seen if trial.fraction > 0 else trial.started)
        return max(expected - done, 0.0)


def duration_text(seconds: float) -> str:
    """Return `45 s`, `12 min 05 s` or `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
