"""A cluster whose nodes have neither the driver's code nor its images."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from clusters import Cluster, cluster
from tiny import EXPERIMENT, raysl, write
from waiting import PATIENCE

import raysl as package
from raysl.data.registry.sets import locate

PRETRAIN = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-3]")
pytestmark = pytest.mark.slow

MAIN = [sys.executable, "-P", "-m", "raysl"]  # as the installed command: without the working directory


class Place(NamedTuple):
    """A cluster, its worker node's cache, the driver's environment, and a folder with another raysl in it."""

    cluster: Cluster
    cache: Path
    environment: dict[str, str]
    trap: Path


def other_raysl(folder: Path) -> Path:
    """Make a package of raysl's name that is of no use."""
    (folder / "raysl").mkdir(parents=True)
    (folder / "raysl" / "__init__.py").write_text("__version__ = '0.0.1'\n")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A head without CPUs, and a worker, which ask for no token: other code, images and cache there."""
    folder = tmp_path_factory.mktemp("remote")
    (folder / "here").mkdir()
    (folder / "there").mkdir()
    digits = locate("digits").read_bytes()
    (folder / "here" / "mnist.parquet").write_bytes(digits)
    (folder / "there" / "mnist.parquet").write_bytes(digits[:-1])
    environment = {**os.environ, "RAYSL_DATA": str(folder / "here"), "RAYSL_CACHE": str(folder / "cache here")}
    of_the_nodes = {"RAYSL_DATA": str(folder / "there"), "RAYSL_CACHE": str(folder / "cache there")}
    of_the_nodes |= {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(other_raysl(folder / "other"))}
    with cluster(0, OMP_WAIT_POLICY="ACTIVE", **of_the_nodes) as found:
        found.add("worker", 2)
        yield Place(found, folder / "cache there", environment, other_raysl(folder / "trap"))


def tune(place: Place, file: Path, results: Path, *more: object) -> subprocess.CompletedProcess[str]:
    """Search on the cluster, from a folder where workers would find another raysl."""
    given = ["tune", file, "--results", results, "--address", place.cluster.address, *more]
    return subprocess.run(
        [*MAIN, *map(str, given)],
        cwd=place.trap,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_code_and_images_reach_the_nodes(place: Place, tmp_path: Path) -> None:
    file, results = write(tmp_path, PRETRAIN.replace("source: digits", "source: mnist")), tmp_path / "results"
    done = tune(place, file, results)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = package.read(str(results)).trials.to_pylist()
    assert [trial["status"] for trial in trials] == ["finished"] * 2
    assert {trial["raysl_version"] for trial in trials} == {package.__version__}
    alone = raysl("train", file, "--set", "data.source=digits")
    [expected] = [trial for trial in trials if trial["seed"] == 0]
    assert expected["trial_id"] in alone.stdout
    assert f"final loss {expected['final_loss']!r}" in alone.stdout
    [sent] = (results / "data").iterdir()
    [fetched] = (place.cache / "carried").glob("*.parquet")
    assert fetched.name == sent.name
    fetches = [log for log in (results / "logs").iterdir() if "fetches mnist from" in log.read_text()]
    assert len(fetches) == 1, "two trials at once, and one of them fetched"
    assert len(list((place.cache / "arrays").glob("*/meta.json"))) == 1


def test_a_cluster_without_tokens_is_not_entered_with_one(place: Place, tmp_path: Path) -> None:
    """Ray would end each trial before it begins: what the cluster says to the driver has no token."""
    with_token = place.environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "a"}
    file, results = write(tmp_path, PRETRAIN), tmp_path / "results"
    done = tune(place._replace(environment=with_token), file, results)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"--address {place.cluster.address}: the cluster asks for no token" in done.stderr
    assert "RAY_AUTH_MODE=disabled" in done.stderr
    program = f"import ray, raysl; ray.init({place.cluster.address!r}); raysl.tune({str(file)!r}, {str(results)!r})"
    done = subprocess.run([sys.executable, "-P", "-c", program], env=with_token, capture_output=True, text=True)
    assert "raysl.errors.ResourcesError: ray.init: the cluster asks for no token" in done.stderr
