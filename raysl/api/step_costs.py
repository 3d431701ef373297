"""The cost of a trial's steps: of finished trials, or measured on this machine once for each distinct shape."""

import tempfile
from typing import TYPE_CHECKING

from raysl.api.trial_times import MeasuredTrials, TrialTimes, step_shape
from raysl.results.storage.store import Store
from raysl.search.experiment import Resources
from raysl.search.trials import Trial

if TYPE_CHECKING:
    from raysl.training.step_benchmark import Cost


class StepCosts:
    """The costs of trials.

    measured: finished trials, whose times are taken for shapes like theirs; None if there are none.
    """

    def __init__(self, steps: int, measured: MeasuredTrials | None = None) -> None:
        """steps: the number of measured steps of each shape of which there are no times."""
        self.measured = measured
        self._steps = steps
        self._costs: dict[str, Cost] = {}

    def of(self, trial: Trial, resources: Resources) -> tuple["Cost", TrialTimes | None]:
        """Return the cost of a trial, and the times that its seconds are from; None if steps were measured here."""
        spec = trial.spec
        times = self.measured.of(spec, resources.workers) if self.measured else None
        shape = step_shape(spec.model_copy(update={"data": spec.data.model_copy(update={"attack": None})}))
        key = f"{shape} {trial.criteria} {times}"
        if key not in self._costs:
            self._costs[key] = self._measure(trial, resources, times)
        return self._costs[key], times

    def _measure(self, trial: Trial, resources: Resources, times: TrialTimes | None) -> "Cost":
        from raysl.training.process import Execution
        from raysl.training.step_benchmark import measure
        from raysl.training.torch_state import kept_torch_state

        execution = Execution(threads=resources.cpus, criteria=trial.criteria)
        known = None if times is None else times.epoch_seconds
        with tempfile.TemporaryDirectory() as scratch, kept_torch_state():
            return measure(trial.spec, Store.open(scratch, create=True), execution, self._steps, known)
