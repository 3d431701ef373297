"""Cluster files, of Ray's launcher and of KubeRay, that were tampered with."""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from attacks.outcomes import outcome
from attacks.yaml_structure import tampered, text_of

from raysl.launch.cluster.cluster_file import read_cluster_file
from raysl.plain_yaml import read_all
from raysl.search.experiment import Resources

FILES = Path(__file__).parents[2] / "cluster"
NAMES = ("aws.yaml", "gcp.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml")


def cases(seed: int, count: int) -> Iterator[str]:
    """Yield cluster files, each of one seed and number alone."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        documents = rng.choice(_bases())
        yield "\n---\n".join(text_of(tampered(document, rng)) for document in documents)


@cache
def _bases() -> list[list[Any]]:
    return [[plain.value for plain in read_all((FILES / name).read_text())] for name in NAMES]


def run(case: str, folder: Path) -> str:
    """Return what becomes of a cluster file: `accepted`, `refused`, or a fault."""
    file = folder / "cluster.yaml"
    file.write_text(case)
    return outcome(lambda: read_cluster_file(file).grown(Resources(gpus=1.0)))
