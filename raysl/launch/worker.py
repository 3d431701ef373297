"""What runs inside Ray's processes: a trial in Tune's own actor, or on the workers of a Train group."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.tune
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from raysl.launch.carry import ensure_data
from raysl.launch.logs import trial_log
from raysl.results.rows import Epoch
from raysl.results.store import Store
from raysl.search.experiment import Resources
from raysl.training.settings import StopSettings

NOTHING = {"epochs": 0}  # reported of a trial that trained nothing: of one without any report, Tune prints a line
REPORT_SECONDS = 1.0  # least time between two reports of a one-worker trial: a report costs a round trip


@dataclass(frozen=True)
class Task:
    """A trial on its way to a worker, in plain values.

    spec: JSON of the TrialSpec.  store: URI of the results folder.
    given_up: whether it has died too often and only ends here.
    milestones, stop, race: as in `search.trials.Trial`.
    """

    trial_id: str
    spec: str
    store: str
    resources: Resources
    milestones: tuple[int, ...] = ()
    stop: StopSettings | None = None
    race: str = ""
    given_up: bool = False


def run_task(task: Task, storage: str) -> None:
    """Run a trial through Ray Train, from within a Tune trial.

    A one-worker trial runs in this very process; others get a group of worker processes.
    storage: a scratch folder for Ray Train's own files.
    """
    resources = task.resources
    if task.given_up:
        ray.tune.report(NOTHING)
        return
    if resources.workers == 1:
        trainer = TorchTrainer(
            _train_here, train_loop_config={"task": task}, scaling_config=ScalingConfig(num_workers=0)
        )
        trainer.fit()
        return
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        _train_in_group,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker={"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {}),
        ),
        # NCCL refuses ranks that share a card.
        torch_config=TorchConfig(backend="nccl" if resources.gpus >= 1 else "gloo"),
        run_config=RunConfig(
            name=task.trial_id,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=0),  # the driver counts, which knows what nodes were lost
            callbacks=[TuneReportCallback()],  # type: ignore[no-untyped-call, list-item]
        ),
    ).fit()


def _train_here(config: dict[str, Any]) -> None:
    last = -math.inf

    def report(epoch: Epoch) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            ray.tune.report({"epoch": epoch.epoch, "loss": epoch.loss})

    _train(config["task"], rank=0, report=report)
    if last == -math.inf:
        ray.tune.report(NOTHING)


def _train_in_group(config: dict[str, Any]) -> None:
    reported = False

    def report(epoch: Epoch) -> None:
        nonlocal reported
        reported = True
        ray.train.report({"epoch": epoch.epoch, "loss": epoch.loss})

    _train(config["task"], rank=ray.train.get_context().get_world_rank(), report=report)
    if not reported:
        ray.train.report(NOTHING)


def _train(task: Task, rank: int, report: Callable[[Epoch], None]) -> None:
    store = Store.open(task.store, create=False)  # a node that does not see the folder must not make one of its own
    with trial_log(store, task.trial_id, rank):
        from raysl.training.loop import Execution, device_for
        from raysl.training.spec import TrialSpec
        from raysl.training.stopping import Race
        from raysl.training.trial import run_trial

        spec, resources = TrialSpec.model_validate_json(task.spec), task.resources
        ensure_data(spec.data, store, file=False)
        execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds, task.milestones)
        race = Race(store, task.race, task.stop) if task.stop is not None else None
        run_trial(spec, store, execution, report, race)
