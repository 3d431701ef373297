"""Which task a trial has, by its data."""

from raysl.training.classification import Classification
from raysl.training.segmenting import SegmentationTask
from raysl.training.spec import TrialSpec
from raysl.training.task import Task

_CLASSIFICATION, _SEGMENTATION = Classification(), SegmentationTask()


def task_of(spec: TrialSpec) -> Task:
    """Return the task of a trial: its images have classes or masks."""
    return _SEGMENTATION if spec.data.masks else _CLASSIFICATION
