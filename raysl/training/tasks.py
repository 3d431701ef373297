"""Which task a trial has, by its data."""

from raysl.training.classification import Classification
from raysl.training.spec import TrialSpec
from raysl.training.task import Task

_CLASSIFICATION = Classification()


def task_of(spec: TrialSpec) -> Task:
    """Return the task of a trial; all images have classes as targets so far."""
    return _CLASSIFICATION
