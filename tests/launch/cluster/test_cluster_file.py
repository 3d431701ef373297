"""What cluster files tell of node types."""

from pathlib import Path

import pytest

from raysl.errors import ResourcesError
from raysl.launch.cluster.capacity import Node, check
from raysl.launch.cluster.cluster_file import NodeType, capacity, read_cluster_file
from raysl.search.experiment import Resources

FILES = Path(__file__).parents[3] / "cluster"
LAUNCHER = """
head_node_type: h
max_workers: 5
idle_timeout_minutes: 2
available_node_types:
  slow: {max_workers: 3, resources: {CPU: 8}, labels: {usd-per-hour: "0.25"}}
  h: {resources: {CPU: 2}, labels: {usd-per-hour: 0.1}}
  spot: {priority: 2, max_workers: 4, resources: {CPU: 4, GPU: 1}}
  free: {resources: {CPU: 1}}
"""


HEAD = "{headGroupSpec: {template: {spec: {containers: [{}]}}}}"


def read(folder: Path, text: str | bytes) -> object:
    path = folder / "cluster.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_cluster_file(path)


def test_a_launcher_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(LAUNCHER)
    file = read_cluster_file(tmp_path / "c.yaml")
    assert file.head == NodeType("h", Node(2, 0), 1, 0.1)
    assert file.workers == (
        NodeType("spot", Node(4, 1), 4, None, 2),  # the highest priority first
        NodeType("slow", Node(8, 0), 3, 0.25),
        NodeType("free", Node(1, 0), 5, None),  # as many as all workers together, as Ray has it
    )
    assert (file.max_workers, file.idle_seconds) == (5, 120)
    assert file.price_of("slow") == 0.25


def test_how_far_a_cluster_grows(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(LAUNCHER)
    file = read_cluster_file(tmp_path / "c.yaml")
    assert [known.name for known in file.grown(Resources(cpus=2))] == ["h"] + 4 * ["spot"] + ["slow"]  # five workers
    assert [known.name for known in file.grown(Resources(cpus=8))] == 3 * ["slow"]  # types that hold none do not count
    assert [known.name for known in file.grown(Resources(gpus=1.0))] == 4 * ["spot"]
    grown = [known.node for known in file.grown(Resources(cpus=2))]
    assert check(Resources(cpus=2), [Node(2, 0)], "file.yaml:3", grown) == 1 + 4 * 2 + 4
    with pytest.raises(ResourcesError, match=r"^file.yaml:3: resources: a trial takes"):
        check(Resources(cpus=9), [Node(2, 0)], "file.yaml:3", [])


def test_the_width_is_that_of_the_workers_that_are_started_first(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(LAUNCHER.replace("max_workers: 5", "max_workers: 9"))
    file = read_cluster_file(tmp_path / "c.yaml")

    def width(nodes: tuple[Node, ...] = (), **resources: int) -> int:
        return capacity(Resources.model_validate(resources), nodes, file, "file.yaml:3")

    assert width(cpus=2) == 1 + 4 * 2  # the head and those of the highest priority
    assert width(cpus=8) == 3  # what those cannot hold
    assert width(cpus=2, workers=9) == 1
    assert width(cpus=2, workers=21) == 1  # workers of several priorities, as a trial fits nowhere else
    assert width((Node(8, 0),) * 5, cpus=2) == 20  # what is there counts
    with pytest.raises(ResourcesError, match=r"^file.yaml:3: resources: a trial takes"):
        width(cpus=2, workers=22)
    (tmp_path / "c.yaml").write_text(LAUNCHER.replace("priority: 2, ", ""))
    file = read_cluster_file(tmp_path / "c.yaml")
    assert width(cpus=2) == 1 + 3 * 4 + 2 * 2  # none is preferred


@pytest.mark.parametrize(
    ("name", "cpus", "most"), [("aws.yaml", 4, 8), ("gcp.yaml", 4, 8), ("kuberay/raycluster.yaml", 3, 12)]
)
def test_shipped_files_hold_a_trial_on_a_gpu(name: str, cpus: int, most: int) -> None:
    file = read_cluster_file(FILES / name)
    assert file.head.node.cpus == 0  # no trial there
    assert {(known.node, known.price is None) for known in file.workers} == {(Node(cpus, 1), False)}
    assert file.idle_seconds == 600
    assert len(file.grown(Resources(gpus=1.0, cpus=3))) == most
    assert capacity(Resources(gpus=1.0, cpus=3), [file.head.node], file, "file.yaml:3") == 6  # the spot ones alone
    assert file.workers[0].name == "gpu-spot"


def test_a_rayjob_holds_what_its_cluster_holds() -> None:
    job = read_cluster_file(FILES / "kuberay/rayjob.yaml")
    cluster = read_cluster_file(FILES / "kuberay/raycluster.yaml")
    assert (job.head, job.workers, job.idle_seconds) == (cluster.head, cluster.workers, cluster.idle_seconds)


def test_kubernetes_numbers(tmp_path: Path) -> None:
    text = """
kind: RayCluster
spec:
  headGroupSpec: {template: {spec: {containers: [{resources: {limits: {cpu: 1500m}}}]}}}
  workerGroupSpecs:
    - groupName: w
      maxReplicas: 2
      template: {spec: {containers: [{resources: {limits: {cpu: "3", amd.com/gpu: "2"}}}]}}
"""
    (tmp_path / "c.yaml").write_text(text)
    file = read_cluster_file(tmp_path / "c.yaml")
    assert (file.head.node, file.workers[0].node) == (Node(2, 0), Node(3, 2))  # Ray rounds CPUs up
    assert file.max_workers == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine", "no cluster is described there"),
        ("a: [", "expected"),
        (LAUNCHER.replace("head_node_type: h", "head_node_type: x"), "head_node_type: 'x'; it takes one of"),
        (LAUNCHER.replace("CPU: 8", "CPU: many"), "available_node_types.slow.resources.CPU: 'many'; it takes a number"),
        (LAUNCHER.replace("max_workers: 3", "max_workers: 1.5"), "slow.max_workers: 1.5; it takes a whole number"),
        (LAUNCHER.replace('"0.25"', "cheap"), "slow.labels.usd-per-hour: 'cheap'"),
        ("kind: RayCluster\nspec: {headGroupSpec: {}}", "spec.headGroupSpec.template.spec.*containers is missing"),
        ("a: &a [*a]", "c.*.yaml:1: an alias"),
        ("kind: RayCluster\nspec:" + "\n- " * 2 + "- " * 3000, "c.*.yaml:4: nested more than 32 deep"),
        ("a: \xe9\n".encode("latin-1"), "c.*.yaml:1: not UTF-8 text"),
        (LAUNCHER.replace("max_workers: 4", "max_workers: 1000000000"), "spot.max_workers: 1000000000; .* 0 to 10,000"),
        ("kind: RayCluster\nspec: {workerGroupSpecs: 3, " + HEAD[1:], "spec.workerGroupSpecs: 3; it takes a list"),
        ("kind: RayCluster\nspec: " + HEAD.replace("[{}]", "[]"), r"containers: \[\]; it takes at least one"),
        ("kind: RayCluster\nspec: " + HEAD.replace("[{}]", "{a: b}"), "containers: {'a': 'b'}; it takes a list"),
        ("kind: RayCluster\nspec: " + HEAD.replace("[{}]", "x" * 9000), "containers: 'xx.*xx'; it takes a list"),
        ("!!python/object/apply:os.system ['true']", "c.*.yaml:1: .*tag !!python/object/apply:os.system cannot"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ResourcesError, match=message) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ResourcesError, match="No such file"):
        read_cluster_file(tmp_path / "none.yaml")
