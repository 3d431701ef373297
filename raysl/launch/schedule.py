"""Ray Tune over a queue of trials."""

import os
import shutil
import tempfile
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from raysl.launch.queue import TrialQueue
from raysl.launch.worker import Task, run_task
from raysl.results.store import Store
from raysl.search.experiment import Resources

MAX_FAILURES = 3  # how often a trial is started again, from its checkpoint, before it counts as failed


class Watcher(Protocol):
    """Is told what happens to the trials of a stage, in the driver's main thread."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again."""

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch (0-based)."""

    def trial_ended(self, trial_id: str) -> None:
        """A trial is done, well or not."""


def run_trials(queue: TrialQueue, store: Store, resources: Resources, max_concurrent: int, watcher: Watcher) -> None:
    """Train the trials of a queue, at most so many at once; each writes its own row, unless it fails."""
    scratch = tempfile.mkdtemp(prefix=f"raysl-{os.getpid()}-tune-")
    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(_tune_trial, scratch=scratch), _tune_resources(resources)),
            tune_config=tune.TuneConfig(
                search_alg=_Feeder(queue, store.uri, resources),
                num_samples=-1,  # as many as the queue has
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


class _Feeder(Searcher):
    """Gives Tune the trials of a queue, one when it has room for one; an adaptive search then knows the most."""

    def __init__(self, queue: TrialQueue, uri: str, resources: Resources) -> None:
        super().__init__(metric="loss", mode="min")  # Tune wants to know; nothing looks at it
        self.queue, self.uri, self.resources = queue, uri, resources

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searchers for a restore that raysl does without

    def suggest(self, trial_id: str) -> Any:
        trial = self.queue.next()
        if trial is None:
            return Searcher.FINISHED
        task = Task(
            trial.spec.id,
            trial.spec.model_dump_json(),
            self.uri,
            self.resources,
            MAX_FAILURES,
            trial.milestones,
            trial.stop,
            trial.race,
        )
        return {"task": task}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the watcher reads the trial's row, which is the truth."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: raysl comes back from its result table."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: raysl comes back from its result table."""


def _tune_trial(config: dict[str, Any], scratch: str) -> None:
    run_task(config["task"], scratch)


def _tune_resources(resources: Resources) -> dict[str, float]:
    if resources.workers > 1:
        # The workers take what the trial takes; a share of a CPU here would leave no room for them on a full node.
        return {"node:__internal_head__": 0.001}
    return {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})


def _name(trial: TuneTrial) -> str:
    return str(trial.config["task"].trial_id)


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
