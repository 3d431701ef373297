"""Whether a cluster can hold a trial."""

import pytest

from raysl.errors import ResourcesError
from raysl.launch.cluster.capacity import Node, check
from raysl.search.experiment import Resources


def count(nodes: list[Node], **resources: float) -> int:
    return check(Resources.model_validate(resources), nodes, "file.yaml:3")


def test_trials_at_once() -> None:
    two, gpus = Node(cpus=2, gpus=0), Node(cpus=16, gpus=2)
    assert count([two]) == 2
    assert count([two, two], workers=2) == 2
    assert count([two, two], workers=4) == 1  # a trial's workers may lie on several nodes
    assert count([gpus], gpus=0.25) == 8
    assert count([gpus], gpus=0.4) == 4  # two on each card, not five on both
    assert count([gpus], gpus=1, cpus=16) == 1


@pytest.mark.parametrize(
    ("nodes", "resources"),
    [
        ([Node(2, 0)], {"cpus": 3}),
        ([Node(2, 0), Node(2, 0)], {"cpus": 3}),  # four CPUs in all, but no node with three
        ([Node(2, 0)], {"workers": 3}),
        ([Node(2, 0)], {"gpus": 0.5}),
        ([Node(8, 1)], {"gpus": 2}),
        ([], {}),
    ],
)
def test_what_can_never_be_held_is_refused(nodes: list[Node], resources: dict[str, float]) -> None:
    with pytest.raises(ResourcesError, match=r"^file.yaml:3: resources: a trial takes"):
        count(nodes, **resources)
