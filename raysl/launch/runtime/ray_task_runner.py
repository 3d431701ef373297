"""Runs a task inside Ray's processes: in Tune's own actor, or on the workers of a Train group."""

from collections.abc import Callable
from functools import partial

import ray.tune

from raysl.launch.runtime.leaving_node import is_node_leaving
from raysl.launch.runtime.task_runner import Report, do_task
from raysl.launch.runtime.tasks import Task
from raysl.launch.runtime.worker_group import WorkerGroup

NOTHING = {"epochs": 0}  # reported for a task that trained nothing: without a report, Tune prints a line

_group: WorkerGroup | None = None  # the workers of this process


def run_task(task: Task, storage: str) -> None:
    """Run a task through Ray Train, from within a Tune trial.

    A trial of one worker runs in this process; others run on a group of worker processes, which the next task reuses.
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
    """End the workers that this process has started, if there are any."""
    if _group is not None and _group.is_there:
        _group.end()


def _run_here(task: Task, report: Callable[[Report], None]) -> None:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def do() -> None:
        do_task(task, 0, report, is_node_leaving)

    TorchTrainer(do, scaling_config=ScalingConfig(num_workers=0)).fit()


def _run_in_group(task: Task, report: Callable[[Report], None], storage: str) -> None:
    global _group
    if _group is None or not _group.is_there:
        _group = WorkerGroup(partial(do_task, is_node_leaving=is_node_leaving), task.resources, storage)
    _group.run(task, report)
