"""How much of the machine a search spends on training, and what a plain loop would take for the same.

    uv run python tests/benchmarks/search_efficiency.py [--profile fashion_mnist_laptop] [--set seeds=5] [--repeats 3]

Runs `raysl tune search_spaces/rotation_semi.yaml` as its user does, start-up, probes, selection, scores and MLflow
included, and prints

- its efficiency: the seconds that the epochs of all its trials take, each alone on the machine and with one thread,
  over cores x the wall seconds of the search; beside it what the same epochs took within the search, where they share
  the machine's memory and what else it does;
- how much faster it is than a sequential loop over the same trials in one process that computes with all cores.

One seed of each config is measured alone and counted for the others, which take as many steps.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from raysl.config import load
from raysl.data.storage.scan import inspect, resolve
from raysl.results.records.rows import read_rows
from raysl.results.storage.store import Store
from raysl.search.trials import Trial, expand
from raysl.training.process import Execution
from raysl.training.trial import run_trial

FILE = Path(__file__).parents[2] / "search_spaces" / "rotation_semi.yaml"


def of_each_config(profile: str | None, overrides: list[str]) -> tuple[list[Trial], int]:
    """Return the first seed's trial of each config, and the number of seeds."""
    experiment = load(FILE, profile, overrides)
    data = resolve(experiment.data, inspect(experiment.data))
    trials = expand(experiment, experiment.stages[0], {experiment.stages[0].name: data}, {})
    return [trial for trial in trials if trial.spec.seed == trials[0].spec.seed], len(experiment.seeds)


def alone(trials: list[Trial], threads: int, folder: Path) -> tuple[float, float]:
    """Return the wall seconds of trials, one after another, and the seconds of their epochs."""
    store = Store.open(tempfile.mkdtemp(dir=folder), create=True)
    wall = 0.0
    for trial in trials:
        started = time.perf_counter()
        run_trial(trial.spec, store, Execution("cpu", threads), lambda epoch: None)
        wall += time.perf_counter() - started
    return wall, epochs_of(store)


def epochs_of(store: Store) -> float:
    return sum(epoch.seconds for row in read_rows(store).values() for epoch in row.curve)


def searched(profile: str | None, overrides: list[str], folder: Path) -> tuple[float, float]:
    """Return the wall seconds of the search's command, and the seconds of its epochs."""
    more = [*(["--profile", profile] if profile else []), *(word for change in overrides for word in ("--set", change))]
    results = tempfile.mkdtemp(dir=folder)
    command = ["tune", FILE, *more, "--results", results]
    started = time.perf_counter()
    code = "from raysl.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *map(str, command)], check=True, capture_output=True)
    return time.perf_counter() - started, epochs_of(Store.open(results, create=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    trials, seeds = of_each_config(arguments.profile, arguments.overrides)
    cores = len(os.sched_getaffinity(0))
    efficiencies, speedups = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(trials[:1], 1, folder)  # what the first one loads and caches is no step
        for _ in range(arguments.repeats):
            search, within = searched(arguments.profile, arguments.overrides, folder)
            _, steps = alone(trials, 1, folder)
            loop, _ = alone(trials, cores, folder)
            efficiencies.append(steps * seeds / (cores * search))
            speedups.append(loop * seeds / search)
            print(
                f"{len(trials) * seeds} trials, {cores} cores: search {search:.1f} s, epochs {steps * seeds:.1f} s "
                f"({within:.1f} within it), "
                f"loop with all cores {loop * seeds:.1f} s: efficiency {efficiencies[-1]:.2f}, {speedups[-1]:.2f} x"
            )
    print(f"median: efficiency {statistics.median(efficiencies):.2f}, {statistics.median(speedups):.2f} x faster")


if __name__ == "__main__":
    main()
