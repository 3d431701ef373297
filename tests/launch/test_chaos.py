"""Whatever dies, and however often: the same command again ends in the tables of an undisturbed search."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import elsewhere
import pytest
from clusters import Cluster, cluster, descendants
from mlflow import MlflowClient
from mlflow_server import MlflowServer, mlflow_server
from tiny import EXPERIMENT, raysl, tables_of, write
from waiting import PATIENCE

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("RAYSL_KILLS", "9"))
KINDS = {"driver", "stopped driver", "raylet", "tracking server", "trial"}  # killed around trials of one worker
# Killed around trials of two workers. What a driver does that is stopped, or loses its server, is the same there.
KINDS_OF_GROUPS = {"driver", "raylet", "trial", "train worker"}
KILLS_OF_GROUPS = max(KILLS // 3, len(KINDS_OF_GROUPS))
ONE_STAGE = EXPERIMENT[: EXPERIMENT.index("  finetune:")].replace("epochs: 4", "epochs: 25")
SEEDS = max(KILLS // 4, 3)  # enough that the search is not over before all kills
ALONE = ONE_STAGE.replace("seeds: 2", f"seeds: {SEEDS}")  # two trials of one worker a seed
GROUPS = ONE_STAGE.replace("name: tiny", "name: groups").replace("[1e-2, 1e-3]", "[3e-3]")
CLOCKS = -7200, 0, 3600  # seconds that the drivers' clocks are ahead
TOLD = "has taken over its work; finished trials are kept; the same command goes on from here"
TRIAL, TRAIN_WORKER = "ray::TrialProcess", "TrainWorker"  # in the titles of processes


class Chaos:
    """A search, given again whenever its driver is dead, and what is killed around it.

    Each driver is on a machine of its own, whose clock is ahead or behind.
    """

    def __init__(self, nodes: Cluster, server: MlflowServer, results: Path, rng: random.Random) -> None:
        self.nodes, self.server, self.results, self.rng = nodes, server, results, rng
        self.killed: Counter[str] = Counter()  # in the search that goes on
        self.raylets = 0
        self.arguments: tuple[object, ...] = ()  # of the command that is given again
        self.kinds: set[str] = set()  # of what is killed
        self.machines = itertools.count()

    def search(self, file: Path, kills: int, kinds: set[str], *more: object) -> None:
        """Do the search of a file to its end, with so many kills on the way, as many of each kind as can be."""
        where = ("--results", self.results, "--address", self.nodes.address, "--tracking", self.server.uri)
        self.arguments = ("tune", file, *where, *more)
        self.killed.clear()
        self.kinds = kinds
        for _ in range(kills + 3):
            driver = self._start()
            while self.killed.total() < kills and self._progress(driver):
                time.sleep(self.rng.uniform(0, 0.5))  # over several epochs
                driver = self._kill(driver)
            if driver.wait(timeout=2 * PATIENCE) == 0:
                break
        assert driver.returncode == 0, self._printed()[-4000:]
        sys.stdout.write(f"killed: {dict(self.killed)}\n")
        assert self.killed.total() == kills, f"the search was over after {self.killed}"

    def _start(self) -> subprocess.Popen[bytes]:
        place = next(self.machines)
        arguments = elsewhere.command(f"machine {place}", CLOCKS[place % len(CLOCKS)], *self.arguments)
        with self._log.open("ab") as output:
            return subprocess.Popen(arguments, stdout=output, stderr=output, env=dict(self.nodes.environment))

    @property
    def _log(self) -> Path:
        return self.results.parent / "driver.log"

    def _printed(self) -> str:
        return " ".join(self._log.read_text().split())

    def _progress(self, driver: subprocess.Popen[bytes]) -> bool:
        """Wait until something new is in the results folder; False where the driver ends before."""
        before = self._state()
        deadline = time.monotonic() + PATIENCE
        while driver.poll() is None:
            if self._state() - before:
                return True
            assert time.monotonic() < deadline, f"no progress; killed so far: {self.killed}"
            time.sleep(0.05)
        return False

    def _state(self) -> set[tuple[str, int]]:
        files = [*self.results.glob("checkpoints/*.pt"), *self.results.glob("rows/*.parquet")]
        found = set()
        for path in files:
            try:
                found.add((path.name, path.stat().st_mtime_ns))
            except FileNotFoundError:
                continue
        return found

    def _kill(self, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Kill or stop something; return the driver that searches from now on."""
        trials, workers = self._processes(TRIAL), self._processes(TRAIN_WORKER)
        targets: dict[str, Callable[[], None]] = {
            "driver": driver.kill,
            "stopped driver": lambda: None,
            "tracking server": self._restart_server,
        }
        if self.nodes.joined():
            targets["raylet"] = self._kill_raylet
        if trials:
            targets["trial"] = lambda: os.kill(self.rng.choice(trials), signal.SIGKILL)
        if workers:
            targets["train worker"] = lambda: os.kill(self.rng.choice(workers), signal.SIGKILL)
        fewest = min(self.killed[kind] for kind in self.kinds)
        choices = [name for name in targets if name in self.kinds and self.killed[name] == fewest]
        if not choices:  # none is there at this moment
            return driver
        target = self.rng.choice(choices)
        successor = driver
        try:
            if target == "stopped driver":
                successor = self._stop(driver)
            targets[target]()
        except ProcessLookupError:  # it ended by itself meanwhile
            return driver
        self.killed[target] += 1
        return successor

    def _stop(self, driver: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Suspend a driver until another has taken over its work; return that one."""
        ids = [name for name in self._drivers() if self._drivers()[name] == driver.pid]
        if not ids or driver.poll() is not None:
            raise ProcessLookupError
        told = self._printed().count(TOLD)
        driver.send_signal(signal.SIGSTOP)
        successor = self._start()
        deadline = time.monotonic() + PATIENCE
        while not (self.results / "fenced" / ids[0]).exists():
            assert successor.poll() is None, self._printed()[-4000:]
            assert time.monotonic() < deadline, "the stopped driver was never taken for gone"
            time.sleep(0.05)
        driver.send_signal(signal.SIGCONT)
        assert driver.wait(timeout=PATIENCE) == 1, self._printed()[-4000:]
        assert self._printed().count(TOLD) == told + 1, self._printed()[-4000:]
        return successor

    def _drivers(self) -> dict[str, int]:
        """Return the pids of the drivers on the results folder, by id."""
        return {path.stem: json.loads(path.read_text())["pid"] for path in self.results.glob("drivers/*.json")}

    def _processes(self, title: str) -> list[int]:
        trees = [self.nodes.head.pid, *(process.pid for process in self.nodes.nodes.values())]
        return sorted(pid for tree in trees for pid, line in descendants(tree).items() if title in line)

    def _restart_server(self) -> None:
        self.server.kill()
        self.server.start()

    def _kill_raylet(self) -> None:
        self.nodes.kill(self.rng.choice(self.nodes.joined()))
        self.raylets += 1
        self.nodes.begin(f"again{self.raylets}", 1)


def test_kills_change_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1000)
    sys.stdout.write(f"chaos seed: {seed}\n")  # a failing test shows it
    alone, groups = write(tmp_path, ALONE), tmp_path / "groups.yaml"
    groups.write_text(GROUPS)
    reference, results = tmp_path / "reference", tmp_path / "results"
    with mlflow_server(tmp_path / "mlflow-reference") as server:
        for file, more in ((alone, ("--backend", "inline")), (groups, ("--set", "resources.workers=2"))):
            done = raysl("tune", file, "--results", reference, "--tracking", server.uri, *more)
            assert done.returncode == 0, done.stdout + done.stderr
        wanted_runs = runs(server.uri)
    with (
        tempfile.TemporaryDirectory(prefix="tmp", dir="/tmp") as temporary,  # short, for Ray's sockets
        mlflow_server(tmp_path / "mlflow") as server,
        cluster(0, TMPDIR=temporary) as nodes,
    ):
        nodes.add("first", 1)
        nodes.add("second", 1)
        chaos = Chaos(nodes, server, results, random.Random(seed))
        results.mkdir()
        chaos.search(alone, KILLS - KILLS_OF_GROUPS, KINDS)
        assert min(chaos.killed[kind] for kind in KINDS) >= max(KILLS // 10, 1)
        chaos.search(groups, KILLS_OF_GROUPS, KINDS_OF_GROUPS, "--set", "resources.workers=2")
        assert min(chaos.killed[kind] for kind in KINDS_OF_GROUPS) >= max(KILLS // 20, 1)
        server.wait()
        again = raysl("tune", alone, "--results", results, "--tracking", server.uri)  # what it missed while it was down
        assert "0 to train" in again.stdout, again.stdout + again.stderr
        raysl("tune", groups, "--results", results, "--tracking", server.uri, "--set", "resources.workers=2")
        found_runs = runs(server.uri)
        assert list(Path(temporary).glob("raysl-*")) == []
    found = tables_of(results)
    assert found == tables_of(reference)
    ids = [trial["trial_id"] for trial in found["trials"]]
    assert len(ids) == len(set(ids)) == 2 * SEEDS + 2
    assert found_runs == wanted_runs
    assert max(found_runs.values()) == 1
    assert files(results) == files(reference)
    left = [line for line in descendants(1).values() if str(results) in line]
    assert left == []


def runs(uri: str) -> Counter[tuple[str, str]]:
    """Return how many runs there are of each kind and name: a name is there once."""
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, max_results=1000)
    return Counter((run.data.tags["raysl.kind"], run.data.tags["raysl.id"].partition(":")[2]) for run in found)


def files(results: Path) -> list[str]:
    """Return all files of a results folder but its own database, drivers' fences, and the sets that nodes got."""
    passed_over = {"data", "fenced"}
    paths = (path for path in results.rglob("*") if path.is_file() and path.parent.name not in passed_over)
    return sorted(str(path.relative_to(results)) for path in paths if path.suffix != ".db")
