"""Does work through Ray Tune, task by task."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.air._internal import usage
from ray.tune import PlacementGroupFactory
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher
from ray.tune.trainable import wrap_function

from raysl.launch.cluster.ray_cluster import check_local_cluster, standard_error
from raysl.launch.cluster.ray_nodes import living_nodes
from raysl.launch.replaced import replaced
from raysl.launch.runtime.course import Course
from raysl.launch.runtime.failures import MAX_FAILURES, Failures
from raysl.launch.runtime.orphans import remove_orphans
from raysl.launch.runtime.ray_task_runner import end_group, run_task
from raysl.launch.runtime.tasks import Work
from raysl.launch.signals import undisturbed
from raysl.outgoing import holds_secret
from raysl.search.experiment import Resources

ORPHAN_SECONDS = 2.0  # between two removals of orphaned placement groups
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PATIENCE = 30.0  # seconds without a running task after which that is reported


def run(work: Work | None, following: Iterator[Work | None], check: Callable[[], None], *, stay: float) -> None:
    """Do work and the work that follows, until `following` yields None; works of equal resources reuse processes.

    following: asked for the next work only when all earlier work is done.  Yielding None releases the processes.
    check: called often, in the driver's main thread; its exceptions end the search.
    stay: seconds for which processes without a task are kept for the next work.
    """
    while work is not None:
        course = Course(work, following, stay)
        _tune(course, check)
        work = course.rest


def _tune(course: Course, check: Callable[[], None]) -> None:
    scratch = tempfile.mkdtemp(prefix=f"raysl-{os.getpid()}-tune-")
    callback = _Callback(course, check)
    try:
        tuner = tune.Tuner(
            TrialProcess,
            tune_config=tune.TuneConfig(
                search_alg=_Feeder(course, scratch),
                num_samples=-1,  # no limit
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=-1),  # no limit: `_Callback` gives tasks up
                callbacks=[callback],
            ),
        )
        with _secrets_stay_here(), _callbacks_uncounted():
            tuner.fit()
        callback.raise_error()
    finally:
        with undisturbed():
            shutil.rmtree(scratch, ignore_errors=True)


def _secrets_stay_here() -> AbstractContextManager[None]:
    """Keep Tune from copying secrets of this process's environment, AWS's keys, into its actors' runtime environment.

    Ray writes runtime environments to its logs and shows them to everybody in the cluster.
    """
    harmless = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not holds_secret(name)}
    return replaced(class_cache, ENV_VARS_TO_PROPAGATE=harmless)


def _callbacks_uncounted() -> AbstractContextManager[None]:
    """Keep Tune from counting callbacks for Ray's usage report: it imports MLflow, for 2 s, to know MLflow's."""
    return replaced(usage, tag_callbacks=lambda callbacks: False)


class _Feeder(Searcher):
    """Gives Tune one task whenever it has room, so that adaptive searches propose as late as possible."""

    def __init__(self, course: Course, scratch: str) -> None:
        super().__init__(metric="loss", mode="min")  # required by Tune, but never used
        self.course, self.scratch = course, scratch

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searchers for a restore, which raysl does not use

    def suggest(self, trial_id: str) -> Any:
        task = self.course.next()
        if task is None:
            return Searcher.FINISHED if self.course.is_over else None
        return {"task": task, "scratch": self.scratch}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the work reads results from its results folder."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: raysl resumes from its result rows."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: raysl resumes from its result rows."""


def _tune_trial(config: dict[str, Any]) -> None:
    run_task(config["task"], config["scratch"])


class TrialProcess(wrap_function(_tune_trial)):  # type: ignore[misc]
    """Tune's actor, which does one task after another."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """Return the resources of a task."""
        return PlacementGroupFactory([_tune_resources(config["task"].resources)])

    def cleanup(self) -> None:
        """End the workers that tasks have left, then the actor."""
        end_group()  # else Ray Train would not clean up after the workers
        super().cleanup()


def _tune_resources(resources: Resources) -> dict[str, float]:
    if resources.workers > 1:
        # The workers take the trial's resources; a share of a CPU here would leave too little for them on a full node.
        return {"node:__internal_head__": 0.001}
    return {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})


def _name(trial: TuneTrial) -> str:
    return str(trial.config["task"].name)


class _Callback(tune.Callback):
    def __init__(self, course: Course, check: Callable[[], None]) -> None:
        self.course, self.check, self.failures = course, check, Failures()
        self.running: set[str] = set()
        self.last_ran = self.last_looked = time.monotonic()
        self.error: Exception | None = None  # of a trial's end, where Tune would take it for the trial's own

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore, which raysl does not use

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        self.raise_error()
        self.check()
        check_local_cluster()
        if time.monotonic() - self.last_looked > ORPHAN_SECONDS:
            self.last_looked = time.monotonic()
            remove_orphans()
        if self.running:
            self.last_ran = time.monotonic()
        elif time.monotonic() - self.last_ran > PATIENCE:
            self.course.now.nothing_runs()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self.running.add(trial.trial_id)
        self.failures.started(_name(trial), living_nodes())
        self.course.now.started(_name(trial))

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:
            self.failures.progressed(_name(trial), result["epoch"])
            self.course.now.progressed(_name(trial), result["epoch"], result["loss"])

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Give up a task that Tune is about to start again, if it has failed too often."""
        self.running.discard(trial.trial_id)
        self.course.now.died(_name(trial), _last_words(trial))
        if self.failures.failed(_name(trial), living_nodes()) > MAX_FAILURES:
            trial.set_config(trial.config | {"task": replace(trial.config["task"], given_up=True)})  # type: ignore[no-untyped-call]
            trial.max_failures = MAX_FAILURES  # in case it fails before its first line

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Handle a trial that Tune gives up, as it does if a process dies between two tasks."""
        name, task = _name(trial), trial.config["task"]
        self.course.now.died(name, _last_words(trial))
        over = task.given_up or self.course.is_over  # then Tune asks for no more tasks
        if over or self.failures.failed(name, living_nodes()) > MAX_FAILURES:
            self._ended(trial)
        else:
            self.running.discard(trial.trial_id)
            self.course.again(task)

    def _ended(self, trial: TuneTrial) -> None:
        self.running.discard(trial.trial_id)
        # Tune keeps every trial, with some 30 kB of statistics of its reports and their JSON.
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()
        trial.run_metadata.invalidate_cache()  # type: ignore[no-untyped-call]
        try:
            self.course.ended(_name(trial))
        except Exception as error:
            self.error = error

    def raise_error(self) -> None:
        """Raise the error that the end of a trial has raised, if there was one."""
        if self.error is not None:
            raise self.error


def _last_words(trial: TuneTrial) -> str:
    """Return Ray's message about a trial's last failure, after its process's last output if it ran on this machine."""
    path = trial.error_file  # the file of Tune's messages about failures
    said = Path(path).read_text(errors="replace") if path is not None and Path(path).is_file() else ""
    last = COLOURS.sub("", said.rpartition("Failure # ")[2])
    written = (standard_error(int(pid)) for pid in dict.fromkeys(re.findall(r"\bpid[=:] ?(\d+)", last)))
    return "\n".join(filter(None, (*written, last)))
