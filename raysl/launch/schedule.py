"""Ray Tune over a queue of trials."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from raysl.launch.cluster import living_nodes
from raysl.launch.failures import Failures
from raysl.launch.orphans import remove_orphans
from raysl.launch.queue import TrialQueue
from raysl.launch.worker import Task, run_task
from raysl.results.store import Store
from raysl.search.experiment import Resources

ORPHAN_SECONDS = 2.0  # between two looks at what killed groups have left
PATIENCE = 30.0  # seconds without any trial that runs before that is said
MAX_FAILURES = 3  # how often a trial may die without getting further before it counts as failed


class Watcher(Protocol):
    """Is told what happens to the trials of a stage, in the driver's main thread."""

    def trial_started(self, trial_id: str) -> None:
        """A trial has its resources and begins, or begins again."""

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        """A trial has finished an epoch (0-based)."""

    def trial_ended(self, trial_id: str) -> None:
        """A trial is done, well or not."""

    def nothing_runs(self) -> None:
        """No trial has had its resources for some time; called again and again meanwhile."""


def run_trials(
    queue: TrialQueue,
    store: Store,
    resources: Resources,
    max_concurrent: int,
    watcher: Watcher,
    check: Callable[[], None],
) -> None:
    """Train the trials of a queue, at most so many at once; each writes its own row, unless it fails.

    check: called often, in the driver's main thread; what it raises ends all training.
    """
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
                failure_config=tune.FailureConfig(max_failures=-1),  # `_Callback` gives trials up
                callbacks=[_Callback(watcher, check, resources)],
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
            # Without a suggestion while nothing runs, Tune would wait, do nothing else, and keep its actors.
            return None if self.queue.running and not self.queue.is_exhausted else Searcher.FINISHED
        task = Task(
            trial.spec.id,
            trial.spec.model_dump_json(),
            self.uri,
            self.resources,
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
    def __init__(self, watcher: Watcher, check: Callable[[], None], resources: Resources) -> None:
        self.watcher, self.check, self.failures = watcher, check, Failures()
        self.running: set[str] = set()
        self.last_ran = self.last_looked = time.monotonic()
        self.in_groups = resources.workers > 1

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that raysl does without

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        self.check()
        if self.in_groups and time.monotonic() - self.last_looked > ORPHAN_SECONDS:
            self.last_looked = time.monotonic()
            remove_orphans()
        if self.running:
            self.last_ran = time.monotonic()
        elif time.monotonic() - self.last_ran > PATIENCE:
            self.watcher.nothing_runs()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.running.add(_name(trial))
        self.failures.started(_name(trial), living_nodes())
        self.watcher.trial_started(_name(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:
            self.failures.progressed(_name(trial), result["epoch"])
            self.watcher.trial_progressed(_name(trial), result["epoch"], result["loss"])

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Give a trial up that Tune is about to start again, where it has died too often."""
        self.running.discard(_name(trial))
        if self.failures.failed(_name(trial), living_nodes()) > MAX_FAILURES:
            trial.set_config({"task": replace(trial.config["task"], given_up=True)})  # type: ignore[no-untyped-call]
            trial.max_failures = MAX_FAILURES  # should it not even get to its first line

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.running.discard(_name(trial))
        self.watcher.trial_ended(_name(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.running.discard(_name(trial))
        self.watcher.trial_ended(_name(trial))
