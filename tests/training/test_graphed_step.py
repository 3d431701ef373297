"""What keeps a step from being recorded as a CUDA graph; the graphs themselves are tested in `test_cuda`."""

from collections.abc import Callable

import pytest

from raysl.methods._method import Step
from raysl.training.graphed_step import WatchedStep


@pytest.mark.parametrize(
    "read",
    [lambda s: s.number, lambda s: s.total, lambda s: s.progress, lambda s: s[0], tuple],
    ids=["number", "total", "progress", "place", "unpacked"],
)
def test_a_step_notes_that_it_was_read(read: Callable[[Step], object]) -> None:
    step = WatchedStep(3, 12)
    assert not step.read
    assert read(step) == read(Step(3, 12))
    assert step.read
