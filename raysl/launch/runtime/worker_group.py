"""Ray Train's workers for trials of several ranks, reused for the next task: their start takes many seconds."""

import pickle
import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig

from raysl.launch.runtime.courier import Courier
from raysl.launch.runtime.task_runner import Report
from raysl.launch.runtime.tasks import Task
from raysl.search.experiment import Resources

LOOK_SECONDS = 1.0  # between two checks whether the workers still live
END_SECONDS = 10.0  # for workers without a task to end


class WorkerGroup:
    """Workers that do tasks, each on all ranks at once, until they are ended or one of them fails."""

    def __init__(self, do: Callable[[Task, int, Callable[[Report], None]], None], resources: Resources, storage: str):
        """Start workers.

        do: called on each worker with a task, the worker's rank, and a function that takes reports.
        storage: a scratch folder for Ray Train.
        """
        self.resources = resources
        self._courier: Any = ray.remote(Courier).options(num_cpus=0).remote(resources.workers)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(do, storage), daemon=True)
        self._thread.start()

    @property
    def is_there(self) -> bool:
        """Whether the workers can take a task."""
        return self._thread.is_alive()

    def run(self, task: Task, report: Callable[[Report], None]) -> None:
        """Do a task to its end; raises the exception that ended the workers, if one did."""
        self._courier.give.remote(pickle.dumps(task))
        while True:
            coming = self._courier.come.remote()
            while not ray.wait([coming], timeout=LOOK_SECONDS)[0]:
                if not self.is_there:
                    raise self._error or RuntimeError("the workers have ended")
            if (told := ray.get(coming)) is None:
                return
            report(told)

    def end(self) -> None:
        """End the workers, and let Ray Train clean up after them."""
        self._courier.give.remote(None)
        self._thread.join(END_SECONDS)

    def _run(self, do: Callable[[Task, int, Callable[[Report], None]], None], storage: str) -> None:
        from raysl.launch.runtime.group_trainer import GroupTrainer
        from raysl.launch.runtime.torch_backend import TorchOverNodes

        resources = self.resources
        try:
            GroupTrainer(
                _serve,
                train_loop_config={"do": do, "courier": self._courier},
                scaling_config=ScalingConfig(
                    num_workers=resources.workers,
                    use_gpu=resources.gpus > 0,
                    resources_per_worker={"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {}),
                ),
                # NCCL refuses ranks that share a GPU.
                torch_config=TorchOverNodes(backend="nccl" if resources.gpus >= 1 else "gloo"),
                run_config=RunConfig(
                    storage_path=storage,
                    # Workers that Ray Train started anew, by default after a drain, would wait: the task is given out.
                    # The driver counts failures: it knows the lost nodes.
                    failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # type: ignore[call-arg]
                ),
            ).fit()
        except BaseException as error:
            self._error = error


def _serve(config: dict[str, Any]) -> None:
    courier, rank = config["courier"], ray.train.get_context().get_world_rank()

    def report(what: Report) -> None:
        ray.get(courier.report.remote(what))  # before `done`: Ray keeps no order among calls of an async actor

    while (task := ray.get(courier.next.remote(rank))) is not None:
        config["do"](pickle.loads(task), rank, report)
        ray.get(courier.done.remote())
