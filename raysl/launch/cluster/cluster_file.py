"""Reads a cluster file: the largest size of an autoscaling cluster, and the prices of its nodes.  No ray."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from raysl.errors import ResourcesError, quoted
from raysl.launch.cluster.capacity import Node, check, num_trials, workers_on
from raysl.plain_yaml import PlainYamlError, read_all, read_file
from raysl.search.experiment import Resources

PRICE = "usd-per-hour"  # label of a node, or of a node type in the file
BOOTSTRAP = "~/ray_bootstrap_config.yaml"  # where Ray's cluster launcher leaves its file on the head
MOST_NODES = 10_000
KINDS = "a file of Ray's cluster launcher, or KubeRay's RayCluster or RayJob"


@dataclass(frozen=True)
class NodeType:
    """A type of node.

    most: how many of it there can be at once.  price: USD for an hour of one; None if the file has none.
    priority: types of higher priority are started first.
    """

    name: str
    node: Node
    most: int
    price: float | None
    priority: int = 0


@dataclass(frozen=True)
class ClusterFile:
    """The type of the head, and those of workers in the order in which they are started; at most `max_workers` workers.

    idle_seconds: seconds after which an idle worker is stopped.
    """

    path: Path
    head: NodeType
    workers: tuple[NodeType, ...]
    max_workers: int
    idle_seconds: float

    @property
    def types(self) -> tuple[NodeType, ...]:
        """All types, the head's first."""
        return (self.head, *self.workers)

    def grown(self, resources: Resources) -> list[NodeType]:
        """Return the type of each node that can hold a trial's worker, of the cluster at its largest."""
        fitting = [known for known in self.workers if workers_on(known.node, resources)]
        workers = [known for known in fitting for _ in range(known.most)][: self.max_workers]
        return [self.head] * bool(workers_on(self.head.node, resources)) + workers

    def preferred(self, resources: Resources) -> list[NodeType]:
        """Return those nodes of `grown` that are started first: of workers, only types of the highest priority.

        Types of lower priority stand in where those cannot be had, for as many trials.  They count as well only if a
        trial's workers do not fit otherwise.
        """
        grown = self.grown(resources)
        for priority in sorted({known.priority for known in grown if known is not self.head}, reverse=True):
            found = [known for known in grown if known is self.head or known.priority >= priority]
            if num_trials(resources, [known.node for known in found]):
                return found
        return grown

    def price_of(self, name: str) -> float | None:
        """Return the price of a node of this type in USD per hour; None if unknown."""
        return next((known.price for known in self.types if known.name == name), None)


def capacity(resources: Resources, nodes: Sequence[Node], file: ClusterFile | None, place: str) -> int:
    """Return how many trials a cluster is to hold at once: as it is, or with all the workers that it starts first.

    With more trials than that, the autoscaler would start dearer nodes although cheaper ones are to be had.
    place: where the resources were written, for the message.
    Raises ResourcesError if it can never hold one, at the largest size that its file allows.
    """
    return check(resources, nodes, place, [known.node for known in file.preferred(resources)] if file else None)


def find_cluster_file(path: Path | None, address: str | None) -> ClusterFile | None:
    """Read the given file, or else the file that Ray's cluster launcher left on this head; None if there is neither.

    address: of the cluster; if None, only a given file is read.
    Raises ResourcesError as `read_cluster_file` does.
    """
    left = Path(BOOTSTRAP).expanduser()
    if path is None and address is not None and left.exists():
        path = left
    return None if path is None else read_cluster_file(path)


def read_cluster_file(path: Path) -> ClusterFile:
    """Read the node types of a cluster file.

    Raises ResourcesError if it cannot be read, is not a cluster file, or has an invalid value.
    """
    try:
        documents = [plain.value for plain in read_all(read_file(Path(os.path.expanduser(path))))]
    except OSError as error:
        raise ResourcesError(f"--cluster {path}: {error.strerror}") from None
    except PlainYamlError as error:
        raise ResourcesError(f"--cluster {path}:{error.line}: {error}") from None
    for document in documents:
        if not isinstance(document, Mapping):
            continue
        if "available_node_types" in document:
            return _launcher(path, document)
        if document.get("kind") in ("RayCluster", "RayJob"):
            return _kuberay(path, document)
    raise ResourcesError(f"--cluster {path}: no cluster is described there; it takes {KINDS}")


def _launcher(path: Path, document: Mapping[str, Any]) -> ClusterFile:
    at = _Place(path, document)
    head_name = str(at.value("head_node_type"))
    names = [str(name) for name in at.mapping("available_node_types")]
    max_workers = at.count("max_workers", 2)
    if head_name not in names:
        at.refuse("head_node_type", head_name, f"one of {', '.join(names)}")
    types = {name: at.inside("available_node_types", name) for name in names}
    most = {name: 1 if name == head_name else types[name].count("max_workers", max_workers) for name in names}
    found = {name: _launcher_type(types[name], name, most[name]) for name in names}
    workers = sorted((found[name] for name in names if name != head_name), key=lambda known: -known.priority)
    idle_seconds = 60 * at.number("idle_timeout_minutes", 5)
    return ClusterFile(path, found[head_name], tuple(workers), max_workers, idle_seconds)


def _launcher_type(at: "_Place", name: str, most: int) -> NodeType:
    resources = at.inside("resources")
    node = Node(resources.number("CPU", 0.0), resources.number("GPU", 0.0))
    return NodeType(name, node, most, at.inside("labels").price(), at.count("priority", 0))


def _kuberay(path: Path, document: Mapping[str, Any]) -> ClusterFile:
    at = _Place(path, document).inside("spec")
    if document["kind"] == "RayJob":
        at = at.inside("rayClusterSpec")
    head = _kuberay_type(at.inside("headGroupSpec"), "head", most=1)
    groups = at.several("workerGroupSpecs", [])
    places = [_Place(path, group, f"{at.where}workerGroupSpecs[{index}].") for index, group in enumerate(groups)]
    workers = [_kuberay_type(place, str(place.value("groupName")), place.count("maxReplicas", 0)) for place in places]
    ordered = tuple(sorted(workers, key=lambda known: -known.priority))
    idle_seconds = at.inside("autoscalerOptions").number("idleTimeoutSeconds", 60)
    return ClusterFile(path, head, ordered, sum(known.most for known in ordered), idle_seconds)


def _kuberay_type(at: "_Place", name: str, most: int) -> NodeType:
    started = at.inside("rayStartParams")
    containers = at.inside("template", "spec").several("containers")
    if not containers:
        at.refuse("template.spec.containers", containers, "at least one")
    limits = _Place(at.path, containers[0], f"{at.where}containers[0].").inside("resources", "limits")
    gpus = sum(limits.number(key, 0.0) for key in limits.values if str(key).endswith("/gpu"))
    cpus = started.number("num-cpus", math.ceil(limits.number("cpu", 0.0)))
    node = Node(cpus, started.number("num-gpus", gpus))
    return NodeType(name, node, most, at.inside("labels").price(), at.count("priority", 0))


class _Place:
    """A mapping of the file, with its place for messages."""

    def __init__(self, path: Path, values: object, where: str = "") -> None:
        self.path, self.where = path, where
        if not isinstance(values, Mapping):
            raise ResourcesError(f"--cluster {path}: {where.rstrip('.') or 'the file'}: {quoted(values)} is no mapping")
        self.values: Mapping[Any, Any] = values

    def refuse(self, key: object, value: object, wanted: str) -> NoReturn:
        raise ResourcesError(f"--cluster {self.path}: {self.where}{key}: {quoted(value)}; it takes {wanted}")

    def value(self, key: str, default: object = None) -> Any:
        found = self.values.get(key, default)
        if found is None:
            raise ResourcesError(f"--cluster {self.path}: {self.where}{key} is missing")
        return found

    def several(self, key: str, default: object = None) -> list[Any]:
        found = self.value(key, default)
        if not isinstance(found, list):
            self.refuse(key, found, "a list")
        return found

    def mapping(self, key: str) -> Mapping[Any, Any]:
        return self.inside(key).values

    def inside(self, *keys: str) -> "_Place":
        found = self
        for key in keys:
            found = _Place(self.path, found.values.get(key) or {}, f"{found.where}{key}.")
        return found

    def number(self, key: str, default: float) -> float:
        """Return a number of CPUs or GPUs; Kubernetes also writes text, with `m` for thousandths."""
        value = self.values.get(key, default)
        text = str(value)
        try:
            found = float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
        except ValueError:
            found = math.nan
        if isinstance(value, bool) or not 0 <= found < math.inf:
            self.refuse(key, value, "a number from 0")
        return found

    def count(self, key: str, default: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_NODES:
            self.refuse(key, value, f"a whole number from 0 to {MOST_NODES:,}")
        return value

    def price(self) -> float | None:
        return self.number(PRICE, math.nan) if PRICE in self.values else None
