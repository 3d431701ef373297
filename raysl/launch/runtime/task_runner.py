"""Does a task in this process, as one of its ranks."""

import logging
import math
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from raysl.errors import LibrariesError
from raysl.launch.cluster.shipping import ensure_data
from raysl.launch.runtime.tasks import ScoreTask, Task, TrainTask
from raysl.launch.runtime.trial_log import trial_log
from raysl.results.records.rows import Epoch
from raysl.results.storage.store import Store
from raysl.sources import libraries

REPORT_SECONDS = 1.0  # least time between two reports, because each costs a round trip

Report = dict[str, Any]  # a finished epoch (0-based), and its loss

log = logging.getLogger(__name__)


def do_task(
    task: Task, rank: int, report: Callable[[Report], None], is_node_leaving: Callable[[], bool] = lambda: False
) -> None:
    """Train or score the trial of a task; the outcome is in the results folder and in the trial's log.

    report: called on rank 0 after an epoch, at most once a second.
    is_node_leaving: says whether this machine is about to be taken away.
    Raises any exception of the training.  If scoring fails, nothing is raised: the trial has no score, and its log has
    the reason.
    """
    if isinstance(task, TrainTask):
        _train(task, rank, report, is_node_leaving)
    elif isinstance(task, ScoreTask) and rank == 0:
        with suppress(Exception):  # the log has the reason, and another attempt would fail the same way
            _score(task)


def _train(task: TrainTask, rank: int, report: Callable[[Report], None], is_node_leaving: Callable[[], bool]) -> None:
    last = -math.inf

    def after(epoch: Epoch) -> None:
        nonlocal last
        if rank == 0 and time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            report({"epoch": epoch.epoch, "loss": epoch.loss})

    store = Store.open(task.store, create=False)  # a node that cannot reach the folder must not create another one
    with trial_log(store, task.name, rank):
        log.info("begins on %s, process %d", socket.gethostname(), os.getpid())
        _check_libraries(task)
        from raysl.training.early_stopping import EarlyStoppingCohort
        from raysl.training.process import Execution, device_for
        from raysl.training.spec import TrialSpec
        from raysl.training.trial import run_trial

        spec, resources = TrialSpec.model_validate_json(task.spec), task.resources
        ensure_data(spec.data, store, file=False)
        execution = Execution(
            device_for(resources.gpus),
            resources.cpus,
            resources.checkpoint_seconds,
            task.milestones,
            criteria=task.criteria,
            is_node_leaving=is_node_leaving,
        )
        cohort = EarlyStoppingCohort(store, task.cohort, task.stop) if task.stop is not None else None
        run_trial(spec, store, execution, after, cohort, task.weights_of)


def _score(task: ScoreTask) -> None:
    from raysl.training.spec import TrialSpec

    store, spec = Store.open(task.store, create=False), TrialSpec.model_validate_json(task.spec)
    with trial_log(store, spec.id, rank=0):
        _check_libraries(task)
        from raysl.training.process import Execution, device_for
        from raysl.training.scoring import score_trial

        ensure_data(spec.data, store, file=True)
        resources = task.resources
        execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds)
        score_trial(spec, store, execution, keep_features=task.keep_features)


def _check_libraries(task: Task) -> None:
    """Raise LibrariesError if this process has another raysl or torch than the driver has."""
    own = libraries()
    if not own.same(task.driver):
        here = f"{socket.gethostname()} has {own}"
        raise LibrariesError(f"{here}; the search's own process has {task.driver}; give all nodes the same")
