"""Searches with Ray from Python: in the cluster that a program is in already, and in one of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import cluster
from tiny import EXPERIMENT, Finished, tables_of
from waiting import PATIENCE

pytestmark = pytest.mark.slow
SHORT = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("[1e-2, 1e-3]", "[1e-2]")

STANDING = """
import json, sys, time
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
import raysl

@ray.remote(num_cpus=0)
class Counter:
    count = 0
    def add(self):
        self.count += 1
        return self.count

counter, before = Counter.remote(), ray.cluster_resources()
ray.get(counter.add.remote())
try:
    raysl.tune(sys.argv[2], sys.argv[3], address="auto")
    refused = ""
except raysl.UserError as error:
    refused = str(error)
print("{", flush=True)
found = raysl.tune(sys.argv[2], sys.argv[3], max_concurrent=1)
print("}", flush=True)
for _ in range(300):
    if (free := ray.available_resources().get("CPU")) == before["CPU"]:
        break
    time.sleep(0.1)
print(json.dumps([found.ok, ray.is_initialized(), ray.get(counter.add.remote()), free == before["CPU"], refused]))
"""
OWN = """
import json, signal, sys, threading
import raysl

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
signal.signal(signal.SIGTERM, lambda number, frame: print("own handler"))
before, found = [signal.getsignal(number) for number in ENDING], []

def search(folder):
    found.append(raysl.tune(sys.argv[1], folder, max_concurrent=1).ok)

print("{", flush=True)
search(sys.argv[2])
thread = threading.Thread(target=search, args=(sys.argv[3],))
thread.start()
thread.join()
print("}", flush=True)
import ray
print(json.dumps([found, ray.is_initialized(), [signal.getsignal(number) for number in ENDING] == before]))
signal.raise_signal(signal.SIGTERM)
"""


def outcome(code: str, *arguments: object, **environment: str) -> tuple[list[object], str, str]:
    """Return what a program has found out, what it has printed after that, and to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    opened, closed, found, *more = done.stdout.splitlines()
    assert (opened, closed) == ("{", "}"), "the search has printed something"
    result: list[object] = json.loads(found)
    return result, "\n".join(more), done.stderr


def test_the_ray_of_a_program_is_used_and_left_as_it_is(finished: Callable[..., Finished], tmp_path: Path) -> None:
    expected, results = finished(SHORT), tmp_path / "results"
    with cluster(2) as found:
        environment = {**found.environment, "TMPDIR": str(tmp_path)}
        told, _, errors = outcome(STANDING, found.address, expected.file, results, **environment)
    assert told[:4] == [True, True, 2, True], errors
    assert "this process is in a Ray cluster already" in str(told[4])
    assert tables_of(results) == tables_of(expected.results)
    assert not list(tmp_path.glob("raysl-*")), "a local cluster was started"


def test_without_one_a_local_ray_is_started_and_ended_in_any_thread(
    finished: Callable[..., Finished], tmp_path: Path
) -> None:
    expected, folders = finished(SHORT), [tmp_path / "main", tmp_path / "thread"]
    told, more, errors = outcome(OWN, expected.file, *folders)
    assert told == [[True, True], False, True], errors
    assert (more, errors) == ("own handler", "")
    assert [tables_of(folder) for folder in folders] == [tables_of(expected.results)] * 2
