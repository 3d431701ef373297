"""Early stopping: rules over the losses of a cohort, and the files of these losses.

A trial decides by itself, from files.  So a rerun also compares with trials of earlier runs, and no trial depends on a
scheduler that would die with its driver.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter

from raysl.results.records.json_records import read_record, write_record
from raysl.results.storage.store import Store
from raysl.training.paths import COHORT_SUFFIX, cohort_folder, cohort_path
from raysl.training.settings import Asha, MedianRule, StopSettings

LossCurve = Sequence[float]  # the loss after each epoch, from the first on
_LOSSES = TypeAdapter(list[float])


def asha(settings: Asha, epochs_done: int, loss: float, peers: LossCurve) -> str | None:
    """Return why a trial ends here under asynchronous successive halving (Li et al. 2020, algorithm 2), or None.

    peers: the losses of other trials after the same number of epochs; without any, the trial goes on.
    The cut-off is interpolated as in Ray's `AsyncHyperBandScheduler`.
    """
    if not _is_rung(settings, epochs_done) or not peers:
        return None
    # Losses are negated, because Ray compares rewards: the interpolation then rounds in the same way.
    cutoff = -float(np.nanpercentile(np.negative(peers), (1 - 1 / settings.reduction) * 100))
    if not loss > cutoff:
        return None
    return (
        f"asha: loss {loss:.6g} after epoch {epochs_done}, "
        f"the lowest 1/{settings.reduction} of {len(peers)} had at most {cutoff:.6g}"
    )


def median(settings: MedianRule, losses: LossCurve, peers: Sequence[LossCurve]) -> str | None:
    """Return why a trial ends here under the median stopping rule (Golovin et al. 2017, section 3.2.2), or None.

    losses: its own so far.  peers: those of other trials so far.
    As in Ray's `MedianStoppingRule`, only peers with as many epochs count, by their mean loss from epoch `grace` on.
    """
    epochs_done = len(losses)
    if epochs_done < settings.grace:
        return None
    means = [float(np.mean(peer[settings.grace - 1 : epochs_done])) for peer in peers if len(peer) >= epochs_done]
    finite = [mean for mean in means if np.isfinite(mean)]
    if len(finite) < settings.min_peers:
        return None
    middle, lowest = float(np.median(finite)), min(losses)
    if not middle < lowest:
        return None
    return (
        f"median: lowest loss {lowest:.6g} after epoch {epochs_done}, "
        f"the median of the mean losses of {len(finite)} was {middle:.6g}"
    )


def _is_rung(settings: Asha, epochs_done: int) -> bool:
    rung = settings.grace
    while rung < epochs_done:
        rung *= settings.reduction
    return rung == epochs_done


@dataclass(frozen=True)
class EarlyStoppingCohort:
    """The trials of a stage with the same seed, which compare their losses.

    name: made of the stage and the seed; each trial's losses are in a file under `races/<name>/`.
    """

    store: Store
    name: str
    settings: StopSettings

    def record(self, trial_id: str, losses: LossCurve) -> None:
        """Write a trial's losses so far for the others; losses of later epochs, from before a kill, are kept."""
        known = self._read(trial_id) or []
        write_record(self.store, cohort_path(self.name, trial_id), _LOSSES, [*losses, *known[len(losses) :]])

    def has(self, trial_id: str) -> bool:
        """Return whether a trial has written losses."""
        return self.store.exists(cohort_path(self.name, trial_id))

    def reason(self, trial_id: str, losses: LossCurve) -> str | None:
        """Return why a trial ends after its last epoch in `losses`; None if it goes on."""
        match self.settings:
            case Asha() as rule:
                done = len(losses)
                if not _is_rung(rule, done):
                    return None  # without reading the others' files
                peers = [peer[done - 1] for peer in self._peers(trial_id) if len(peer) >= done]
                return asha(rule, done, losses[-1], peers)
            case MedianRule() as rule:
                return median(rule, losses, self._peers(trial_id)) if len(losses) >= rule.grace else None

    def withdraw(self, trial_id: str) -> None:
        """Remove a trial's losses, if they mean nothing: those of a collapsed trial are the lowest of all."""
        self.store.delete(cohort_path(self.name, trial_id))

    def _peers(self, trial_id: str) -> list[LossCurve]:
        names = self.store.list(cohort_folder(self.name), COHORT_SUFFIX)
        others = (name.removesuffix(COHORT_SUFFIX) for name in names)
        found = (self._read(other) for other in others if other != trial_id)
        return [losses for losses in found if losses]

    def _read(self, trial_id: str) -> list[float] | None:
        return read_record(self.store, cohort_path(self.name, trial_id), _LOSSES)
