"""`raysl.plan`: estimates the cost of a search from a few measured steps."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from raysl.api.costing import ExperimentPlan, Planner
from raysl.api.dataset_setup import missing_texts, resolve_data
from raysl.api.launching import check_whole
from raysl.api.loading import Source, as_request
from raysl.api.observer import Observer, Preparation, checked_observer
from raysl.api.search_request import SearchRequest
from raysl.api.start_weights import missing_weights, resolve_weights
from raysl.api.step_costs import StepCosts
from raysl.api.target import Target, target
from raysl.api.trial_times import MeasuredTrials
from raysl.api.turns import own_turn
from raysl.data.settings import TrialData
from raysl.data.storage.decoded_cache import prepare
from raysl.search.experiment import Experiment, Resources


@dataclass(frozen=True)
class SearchPlan:
    """The cost of the searches of a request, one after the other.

    experiments: the cost of each, without what earlier ones need too.
    num_trials: of all experiments; shared ones count once.
    needs: the sum of the trials' seconds, by the resources of a trial.
    seconds: of wall time.  usd: price of the existing cluster's nodes for that time; None if unknown.
    missing: how a search would first get the data sets and start weights that are not on this machine.
    """

    experiments: tuple[ExperimentPlan, ...]
    num_trials: int
    needs: Mapping[Resources, float]
    seconds: float
    usd: float | None
    missing: tuple[str, ...]


class Planning:
    """The computation of a plan."""

    def __init__(
        self, request: SearchRequest, results: str | None, place: Target, steps: int, measured: str | None = None
    ) -> None:
        """Plan a request for a results folder and a target.

        steps: the number of measured steps of each distinct shape.
        measured: results folder or URI whose finished trials give times in place of steps.
        Raises ResourcesError if an experiment can never be trained there, UserError if nothing was measured.
        """
        self.request, self.place = request, place
        for experiment in request.experiments:
            place.capacity(experiment)
        costs = StepCosts(steps, None if measured is None else MeasuredTrials(measured))
        self.planner = Planner(results or request.results, place, costs)
        self.missing: dict[str, TrialData] = {}
        self.resolved: list[Experiment] = []
        self.done: list[ExperimentPlan] = []

    def run(self, told: Preparation) -> Iterator[ExperimentPlan]:
        """Yield the plan of each experiment, as soon as it is computed."""
        if self.request.note:
            told.noted(self.request.note)
        for experiment in self.request.experiments:
            self.done.append(self._plan(experiment, told))
            yield self.done[-1]

    def _plan(self, experiment: Experiment, told: Preparation) -> ExperimentPlan:
        datas = resolve_data(experiment, told, download=False)
        for data in {data.model_dump_json(): data for data in datas.values() if not data.is_missing}.values():
            prepare(data, progress=told.preparing)
        experiment = resolve_weights(experiment, datas, download=False)
        self.missing |= {data.source: data for data in datas.values() if data.is_missing}
        self.resolved.append(experiment)
        return self.planner.add(experiment, datas)

    def result(self) -> SearchPlan:
        """Return the plan of the experiments so far."""
        seconds = sum(plan.seconds for plan in self.done)
        return SearchPlan(
            experiments=tuple(self.done),
            num_trials=len(self.planner.trials),
            needs=self.planner.needs,
            seconds=seconds,
            usd=None if self.place.rate is None else self.place.rate * seconds / 3600,
            missing=(*missing_texts(self.missing.values()), *missing_weights(self.resolved)),
        )


def plan(
    experiment: Experiment | SearchRequest | Source,
    results: str | os.PathLike[str] | None = None,
    *,
    address: str | None = None,
    cluster: str | os.PathLike[str] | None = None,
    steps: int = 5,
    measured: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
) -> SearchPlan:
    """Estimate the cost of a search; nothing is trained, downloaded or written.

    Args:
        experiment: as for `raysl.tune`.
        results: folder or URI whose finished trials are left out; `results/NAME[-PROFILE]` if None.
        address: of the Ray cluster that it would run on; this machine if None.
        cluster: cluster file of the cluster at the address, or of one that is not started yet.
        steps: measured steps of each distinct shape, on this machine's CPU.
        measured: results folder or URI; its finished trials give the times of trials with the same steps and number of
            workers, with any number of epochs, in place of steps here. Trained on the target, they give its times.
        observer: receives notes and the progress of decoding images.

    Returns:
        the plan: trials, steps, seconds, those of label-free criteria among them. It does not include probes, scoring
        and start-up, unless finished trials gave the times.

    Raises:
        UserError: an argument is wrong, or the target can never have the resources.

    Example:
        raysl.plan("search_spaces/rotation_semi.yaml").seconds / 3600
    """
    check_whole("--steps", steps, 1)
    told = checked_observer(observer)
    file = None if cluster is None else Path(cluster)
    with own_turn():
        planning = Planning(
            as_request(experiment),
            None if results is None else os.fsdecode(results),
            target(address, file),
            steps,
            None if measured is None else os.fsdecode(measured),
        )
        for _ in planning.run(told):
            pass
    return planning.result()
