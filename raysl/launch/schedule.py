"""Ray Tune over a list of trials."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raysl.launch.worker import Task, run_task
from raysl.results.store import Store
from raysl.search.experiment import Resources
from raysl.search.trials import Trial

MAX_FAILURES = 3  # how often a trial is started again, from its checkpoint, before it counts as failed


class Watcher(Protocol):
    """Is told what happens to the trials of a stage, in the driver's main thread."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again."""

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch (0-based)."""

    def trial_ended(self, trial_id: str) -> None:
        """A trial is done, well or not."""


def run_trials(
    trials: Sequence[Trial], store: Store, resources: Resources, max_concurrent: int, watcher: Watcher
) -> None:
    """Train trials, at most so many at once; each writes its own row, unless it fails."""
    tasks = {
        trial.spec.id: Task(trial.spec.id, trial.spec.model_dump_json(), store.uri, resources, MAX_FAILURES)
        for trial in trials
    }
    scratch = tempfile.mkdtemp(prefix=f"raysl-{os.getpid()}-tune-")
    try:
        tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_tune_trial, tasks=tasks, scratch=scratch), _tune_resources(resources)
            ),
            param_space={"trial_id": tune.grid_search(list(tasks))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=max_concurrent,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                verbose=0,
                # A group starts its own workers anew; only its driver is left to Tune.
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES if resources.workers == 1 else 1),
                callbacks=[_Callback(watcher)],
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _tune_trial(config: dict[str, Any], tasks: Mapping[str, Task], scratch: str) -> None:
    run_task(tasks[config["trial_id"]], scratch)


def _tune_resources(resources: Resources) -> dict[str, float]:
    if resources.workers > 1:
        # The workers take what the trial takes; a share of a CPU here would leave no room for them on a full node.
        return {"node:__internal_head__": 0.001}
    return {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})


def _name(trial: TuneTrial) -> str:
    return str(trial.config["trial_id"])


class _Callback(tune.Callback):
    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that raysl does without

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.watcher.trial_started(_name(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:
            self.watcher.trial_progressed(_name(trial), result["epoch"], result["loss"])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.watcher.trial_ended(_name(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.watcher.trial_ended(_name(trial))
