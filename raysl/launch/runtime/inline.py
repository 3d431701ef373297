"""Does a search's work in its own process, one task after another, without Ray."""

import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout

from raysl.errors import ResourcesError
from raysl.launch.cluster.capacity import Node
from raysl.launch.runtime.course import Course
from raysl.launch.runtime.failures import MAX_FAILURES, Failures
from raysl.launch.runtime.task_runner import Report, do_task
from raysl.launch.runtime.tasks import Task, Work
from raysl.search.experiment import Resources

THIS_PROCESS: frozenset[str] = frozenset()  # the nodes, to `Failures`: none that could be lost


def this_machine(resources: Resources, place: str) -> list[Node]:
    """Return this machine as a list of one node.

    place: where the resources were written, for the message.
    Raises ResourcesError if a trial takes several workers, because each needs a process of its own.
    """
    if resources.workers > 1:
        raise ResourcesError(
            f"{place}: resources.workers: {resources.workers}: --backend inline trains in one process; "
            "choices: resources.workers=1, --backend ray"
        )
    return [Node(os.cpu_count() or 1, _num_gpus() if resources.gpus else 0)]


def run(work: Work | None, following: Iterator[Work | None], check: Callable[[], None]) -> None:
    """Do work and the work that follows, until `following` yields None.

    following: asked for the next work only when all earlier work is done.
    check: called before each task and, while a trial is trained, between epochs about once a second; its exceptions
        end the search.
    """
    from raysl.training.torch_state import kept_torch_state

    while work is not None:
        course = Course(work, following, stay=math.inf)
        while (task := course.next()) is not None:
            check()
            with kept_torch_state():
                _Attempts(course, check).do(task)
            course.ended(task.name)
        work = course.rest


class _Attempts:
    """Does a task, with as many attempts as with Ray if it fails."""

    def __init__(self, course: Course, check: Callable[[], None]) -> None:
        self.course, self.check, self.failures = course, check, Failures()
        self.stopped: Exception | None = None  # an exception that ends the search, not only the task
        self.output, self.errors = sys.stdout, sys.stderr  # a task's output goes to its log

    def do(self, task: Task) -> None:
        """Do a task, until it succeeds or has failed too often."""
        while not self._attempt(task):
            if self.failures.failed(task.name, THIS_PROCESS) > MAX_FAILURES:
                return

    def _attempt(self, task: Task) -> bool:
        self.course.now.started(task.name)
        try:
            do_task(task, 0, lambda report: self._report(task, report))
        except Exception as error:
            if error is self.stopped:
                raise
            self.course.now.died(task.name, "".join(traceback.format_exception(error)))
            return False  # its traceback is in the trial's log
        return True

    def _report(self, task: Task, report: Report) -> None:
        self.failures.progressed(task.name, report["epoch"])
        try:
            with redirect_stdout(self.output), redirect_stderr(self.errors):
                self.course.now.progressed(task.name, report["epoch"], report["loss"])
                self.check()
        except Exception as error:
            self.stopped = error
            raise


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count()
