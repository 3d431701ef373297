"""What runs inside Ray's processes: a task in Tune's own actor, or on the workers of a Train group."""

import logging
import math
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import ray.tune

from raysl.launch.carry import ensure_data
from raysl.launch.group import Group, Report
from raysl.launch.logs import trial_log
from raysl.launch.work import ScoreTask, Task, TrainTask
from raysl.results.rows import Epoch
from raysl.results.store import Store

NOTHING = {"epochs": 0}  # reported of a task that trained nothing: of one without any report, Tune prints a line
REPORT_SECONDS = 1.0  # least time between two reports: a report costs a round trip

log = logging.getLogger(__name__)
_group: Group | None = None  # of this process


def run_task(task: Task, storage: str) -> None:
    """Run a task through Ray Train, from within a Tune trial.

    A trial of one worker runs in this very process; others get a group of worker processes, which the next task finds.
    storage: a scratch folder for Ray Train's own files.
    """
    reported = False

    def report(what: Report) -> None:
        nonlocal reported
        reported = True
        ray.tune.report(what)

    if not task.given_up:
        if task.resources.workers == 1:
            _run_here(task, report)
        else:
            _run_in_group(task, report, storage)
    if not reported:
        report(NOTHING)


def end_group() -> None:
    """End the workers that this process has started, if it has."""
    if _group is not None and _group.is_there:
        _group.end()


def _run_here(task: Task, report: Callable[[Report], None]) -> None:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def do() -> None:
        _do(task, 0, report)

    TorchTrainer(do, scaling_config=ScalingConfig(num_workers=0)).fit()


def _run_in_group(task: Task, report: Callable[[Report], None], storage: str) -> None:
    global _group
    if _group is None or not _group.is_there:
        _group = Group(_do, task.resources, storage)
    _group.run(task, report)


def _do(task: Task, rank: int, report: Callable[[Report], None]) -> None:
    if isinstance(task, TrainTask):
        _train(task, rank, report)
    elif isinstance(task, ScoreTask) and rank == 0:
        with suppress(Exception):  # the log has it, and another attempt would end as this one
            _score(task)


def _train(task: TrainTask, rank: int, report: Callable[[Report], None]) -> None:
    last = -math.inf

    def after(epoch: Epoch) -> None:
        nonlocal last
        if rank == 0 and time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            report({"epoch": epoch.epoch, "loss": epoch.loss})

    store = Store.open(task.store, create=False)  # a node that does not see the folder must not make one of its own
    with trial_log(store, task.name, rank):
        log.info("begins on %s, process %d", socket.gethostname(), os.getpid())
        from raysl.training.loop import Execution, device_for
        from raysl.training.spec import TrialSpec
        from raysl.training.stopping import Race
        from raysl.training.trial import run_trial

        spec, resources = TrialSpec.model_validate_json(task.spec), task.resources
        ensure_data(spec.data, store, file=False)
        execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds, task.milestones)
        race = Race(store, task.race, task.stop) if task.stop is not None else None
        run_trial(spec, store, execution, after, race)


def _score(task: ScoreTask) -> None:
    from raysl.training.spec import TrialSpec

    store, spec = Store.open(task.store, create=False), TrialSpec.model_validate_json(task.spec)
    with trial_log(store, spec.id, rank=0):
        from raysl.training.loop import Execution, device_for
        from raysl.training.scoring import score_trial

        ensure_data(spec.data, store, file=True)
        resources = task.resources
        execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds)
        score_trial(spec, store, execution, keep_features=task.keep_features)
