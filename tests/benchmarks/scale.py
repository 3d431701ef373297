"""What a results folder of thousands of finished trials costs its readers and its driver.

    uv run python tests/benchmarks/scale.py [--trials 100 1000 10000] [--times 3] [--ray 2000]

Fills a folder with finished trials of 50 epochs through raysl's own writers, without training, and prints, for each
number of trials, medians of fresh processes: wall seconds (and the processor's), and their highest memory:

- `raysl show`, and `raysl tune` of the same experiment, which finds nothing to do and starts no Ray (the tracking store
  is one that is known to be up to date);
- the selection: the rows are read, and a config is chosen;
- the tables made and published whole;

and what a driver does for each trial, in one process: the trial handed out and taken back, and what its tracking makes
of the whole folder from time to time.  `--ray` also trains so many trials of a trivial model, one at a time, on a
local Ray.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filled import experiment_in, fill, note_tracked

from raysl.console.live import Display
from raysl.console.screen import screen
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.train_source import TrainSource
from raysl.launch.driver.trial_queue import TrialQueue
from raysl.results.records.rows import read_rows, write_row
from raysl.results.records.stages import read_stages, write_stage
from raysl.results.storage.store import Store
from raysl.search.experiment import Resources
from raysl.search.selection import select
from raysl.search.summary import publish_store, summarise_store

EPOCHS = 50
AGAIN = 50  # trials that the driver is given
PARTS = {"show": "raysl show", "tune": "raysl tune, 0 to do", "select": "selection", "publish": "tables published"}
SHARE = 500  # trials of each of the two ends that are compared
MAIN = """\
import sys
from raysl.cli import main
try:
    main()
finally:
    assert "ray" not in sys.modules
    sys.stderr.write(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@dataclass
class Measured:
    """seconds, busy: wall and processor's, of each process.  memory: MB, the highest of any."""

    seconds: list[float]
    busy: list[float]
    memory: float

    def __str__(self) -> str:
        return f"{statistics.median(self.seconds):.2f} ({statistics.median(self.busy):.2f}) s {self.memory:.0f} MB"


def measured(command: Callable[[], list[str]], times: int) -> Measured:
    seconds, busy, memory = [], [], 0.0
    for _ in range(times):
        arguments = command()
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        seconds.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        memory = max(memory, float(done.stderr.splitlines()[-1].split()[1]) / 1024)
    return Measured(seconds, busy, memory)


def peak() -> str:
    """Return this process's highest memory, which a parent's would be part of elsewhere: VmHWM, kB."""
    return next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))


def memory() -> float:
    """Return the highest memory of this process, in MB."""
    return int(peak().split()[1]) / 1024


def command_of(part: str, folder: Path) -> list[str]:
    results = folder / "results"
    if part == "show":
        return [sys.executable, "-c", MAIN, "show", str(results)]
    if part == "tune":
        return [sys.executable, "-c", MAIN, "tune", str(folder / "scale.yaml"), "--results", str(results)]
    if part == "publish":
        (results / "published.json").unlink(missing_ok=True)
    return [sys.executable, __file__, "--part", part, "--folder", str(folder)]


def select_part(store: Store) -> None:
    [record] = read_stages(store)
    select(record, read_rows(store, [member.trial_id for member in record.members]), 0.0)


def driver_part(folder: Path, trials: int) -> None:
    """Print what a driver needs for each trial, in milliseconds, where so many are done."""
    filled = experiment_in(folder, trials, EPOCHS)
    store, record = filled.store, filled.record
    rows = read_rows(store)
    again = {trial.spec.id: rows.pop(trial.spec.id) for trial in filled.trials[-AGAIN:]}
    for trial_id in again:
        store.delete(f"rows/{trial_id}.parquet")
    with Leases(store) as leases:
        display = Display(screen(), store)
        display.stages_started([record], rows, len(again))
        queue = TrialQueue(filled.trials[-AGAIN:], (), rows, leases)
        work = TrainSource(queue, store, Resources(), 1, display, lambda row: None)
        handed_out, taken_back = [], []
        for _ in again:
            handed_out.append(timed(work.next))
            [name] = queue.handed_out.keys() - queue.rows.keys()
            write_row(store, again[name])
            taken_back.append(timed(partial(work.ended, name)))
    drawn = timed(display._best)
    snapshot = timed(lambda: summarise_store(store, curves=False))
    whole = timed(lambda: write_stage(store, filled.record))
    highest = memory()
    each = statistics.median(handed_out), statistics.median(taken_back), drawn, snapshot, whole
    publish_store(store)
    note_tracked(store)
    print(*(f"{1000 * seconds:.2f}" for seconds in each), f"{highest:.0f}", file=sys.stderr)


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def driver_of(folder: Path, trials: int) -> list[str]:
    command = [sys.executable, __file__, "--part", "driver", "--folder", str(folder), "--trials", str(trials)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return done.stderr.splitlines()[-1].split()


def train_in_ray(trials: int, folder: Path) -> None:
    from search_overhead import raysl_trials, trials_of

    from raysl.launch.cluster.ray_cluster import cluster

    known = trials_of(folder, trials)
    before = memory()
    with cluster(None):
        seconds = raysl_trials(known, folder, workers=1).seconds
    ends = [seconds[1 : SHARE + 1], seconds[-SHARE:]]
    for name, share in zip(("first", "last"), ends, strict=True):
        mean, middle = statistics.fmean(share), statistics.median(share)
        print(f"Ray: {name} {len(share)} of {trials} trials: {mean:.3f} s each (median {middle:.3f})")
    print(f"driver: {before:.0f} MB with torch and Ray imported, {memory():.0f} MB at most")


def report(folders: dict[int, Path], times: int) -> None:
    print(f"{'fresh process':<22}" + "".join(f"{f'{trials} trials':>22}" for trials in folders))
    for part, words in PARTS.items():
        found = [measured(partial(command_of, part, folder), times) for folder in folders.values()]
        print(f"{words:<22}" + "".join(f"{one!s:>22}" for one in found), flush=True)
    columns = ("handed out", "taken back", "best drawn", "snapshot", "stage record", "memory")
    print(f"\n{'driver, ms each':<22}" + "".join(f"{column:>14}" for column in columns))
    for trials, folder in folders.items():
        print(f"{f'{trials} trials':<22}" + "".join(f"{value:>14}" for value in driver_of(folder, trials)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--ray", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where filled folders are kept for the next time")
    parser.add_argument("--part", choices=("select", "publish", "driver", "ray"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "driver":
        driver_part(arguments.folder, arguments.trials[0])
    elif arguments.part == "ray":
        train_in_ray(arguments.trials[0], arguments.folder)
    elif arguments.part is not None:
        store = Store.open(str(arguments.folder / "results"), create=False)
        (select_part if arguments.part == "select" else publish_store)(store)
        print(peak(), file=sys.stderr)
    else:
        with tempfile.TemporaryDirectory() as name:
            kept = arguments.folder or Path(name)
            folders = {trials: kept / str(trials) for trials in arguments.trials}
            for trials, folder in folders.items():
                if not folder.exists():
                    fill(folder, trials, EPOCHS)
            report(folders, arguments.times)
            if arguments.ray:
                command = [sys.executable, __file__, "--part", "ray", "--trials", str(arguments.ray), "--folder", name]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
