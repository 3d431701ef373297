"""The order in which work is done, without Ray: what Tune asks for, and what it tells."""

import math
from collections import deque
from collections.abc import Iterator

import pytest
from ray.tune.experiment import Trial as TuneTrial

from raysl.launch.runtime import course as module
from raysl.launch.runtime.course import Course
from raysl.launch.runtime.tasks import Task, Work
from raysl.launch.runtime.tune_runner import _Callback
from raysl.search.experiment import Resources


class Listed:
    """Work on tasks that are known."""

    def __init__(self, *names: str, limit: int = 9, resources: Resources | None = None) -> None:
        self.limit, self.resources = limit, resources or Resources()
        self.tasks = deque(Task(name, "{}", "", self.resources) for name in names)
        self.told: list[str] = []

    @property
    def is_exhausted(self) -> bool:
        return not self.tasks

    def next(self) -> Task | None:
        return self.tasks.popleft() if self.tasks else None

    def started(self, name: str) -> None:
        raise AssertionError(name)

    def progressed(self, name: str, epoch: int, loss: float) -> None:
        raise AssertionError(name)

    def ended(self, name: str) -> None:
        self.told.append(name)

    def died(self, name: str, why: str) -> None: ...

    def nothing_runs(self) -> None:
        raise AssertionError


def name_of(task: Task | None) -> str | None:
    return None if task is None else task.name


def test_work_begins_when_all_of_the_work_before_has_ended() -> None:
    first, second = Listed("a", "b"), Listed("c")
    asked: list[str] = []

    def following() -> Iterator[Work | None]:
        asked.append("second")
        yield second

    course = Course(first, following(), stay=math.inf)
    assert [name_of(course.next()) for _ in range(3)] == ["a", "b", None]
    course.ended("a")
    assert course.next() is None
    assert not asked, "what follows may depend on all that is before it"
    course.ended("b")
    assert name_of(course.next()) == "c"
    assert first.told == ["a", "b"]
    course.ended("c")
    assert course.next() is None
    assert course.is_over
    assert second.told == ["c"]
    assert course.rest is None


def test_a_task_that_is_given_back_is_handed_out_once_more_before_its_work_is_done() -> None:
    first = Listed("a", "b")
    course = Course(first, iter([Listed("c")]), stay=math.inf)
    task = course.next()
    course.next()
    course.ended("b")
    assert task is not None
    course.again(task)
    assert course.next() is task
    assert course.next() is None
    course.ended("a")
    assert first.told == ["b", "a"]
    assert name_of(course.next()) == "c"


def test_no_more_tasks_at_once_than_their_work_allows() -> None:
    course = Course(Listed("a", "b", limit=1), iter([Listed("c", "d", limit=2)]), stay=math.inf)
    assert [name_of(course.next()) for _ in range(2)] == ["a", None]
    course.ended("a")
    assert [name_of(course.next()) for _ in range(2)] == ["b", None]
    course.ended("b")
    assert [name_of(course.next()) for _ in range(3)] == ["c", "d", None]


@pytest.mark.parametrize("resources", [{"workers": 2}, {"cpus": 2}, {"gpus": 0.5}, {"checkpoint_seconds": 1.0}])
def test_processes_go_on_only_with_what_takes_the_same(resources: dict[str, float]) -> None:
    other = Listed("b", resources=Resources.model_validate(resources))
    course = Course(Listed("a"), iter([other]), stay=math.inf)
    course.next()
    course.ended("a")
    goes_on = "checkpoint_seconds" in resources
    assert name_of(course.next()) == ("b" if goes_on else None)
    assert course.is_over is not goes_on
    assert course.rest is (None if goes_on else other)


def test_processes_are_given_back_for_a_wait() -> None:
    second = Listed("b")
    following = iter([None, second])
    course = Course(Listed("a"), following, stay=math.inf)
    course.next()
    course.ended("a")
    assert course.next() is None
    assert course.is_over
    assert course.rest is None
    assert next(following) is second


def test_processes_are_given_back_when_they_have_waited_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    first, following = Listed("a", "b"), iter([Listed("c")])
    course = Course(first, following, stay=60.0)
    course.next()
    now = 100.0
    assert not course.is_over, "there was a task for each"
    course.next()
    assert course.next() is None
    now = 159.0
    assert course.next() is None
    assert not course.is_over
    now = 160.0
    assert course.next() is None
    assert course.is_over
    course.ended("a")
    course.ended("b")
    assert first.told == ["a", "b"]
    assert course.rest is None
    assert name_of(next(following).next()) == "c"


def test_processes_that_waited_for_a_while_go_on_with_what_follows() -> None:
    course = Course(Listed("a", "b"), iter([Listed("c")]), stay=60.0)
    course.next(), course.next()
    course.ended("a")
    assert course.next() is None
    course.ended("b")
    assert name_of(course.next()) == "c"


def test_what_tune_keeps_of_a_trial_that_has_ended_is_little() -> None:
    work = Listed("a")
    course = Course(work, iter(()), stay=math.inf)
    trial = TuneTrial("unknown", config={"task": course.next()}, stub=True)
    trial.update_last_result({"epoch": 0, "loss": 1.0, "training_iteration": 1})
    assert trial.metric_analysis
    assert trial.metric_n_steps
    _Callback(course, lambda: None)._ended(trial)
    assert not trial.metric_analysis
    assert not trial.metric_n_steps
    assert work.told == ["a"]
