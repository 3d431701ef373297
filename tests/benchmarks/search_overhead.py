"""What a trial costs beyond its training: raysl beside Ray's documented nested pattern.

    uv run python tests/benchmarks/search_overhead.py [--trials 15] [--nested 4]

Trains trials of a trivial model (one epoch of one step) one at a time and prints, for each pattern, the wall seconds of
the first trial (start-up of Ray and of the trial's processes) and of each further one, beyond the training itself.
The nested pattern is a Tune function that builds a one-worker TorchTrainer and calls fit(), which is what Ray documents
for tuning a trainer; it runs fewer trials because each takes many seconds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ray import train, tune
from ray.train.torch import TorchTrainer

from raysl.config import load
from raysl.data.inspect import inspect, resolve
from raysl.launch.cluster import cluster
from raysl.launch.leases import Leases
from raysl.launch.queue import TrialQueue
from raysl.launch.schedule import run_trials
from raysl.results.rows import read_rows
from raysl.results.store import Store
from raysl.search.trials import expand

EXPERIMENT = """\
name: trivial
data: {{source: digits, labels: 20}}
model: {{backbone: small_resnet, features: 4}}
seeds: {trials}
stages:
  only:
    method: {{name: supervised}}
    epochs: 1
    batch_size: 20
    optimizer: {{name: sgd, lr: 0.01}}
"""


class Ends:
    """Notes when each trial ends."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def trial_started(self, trial_id: str) -> None:
        pass

    def trial_progressed(self, trial_id: str, epoch: int, loss: float) -> None:
        pass

    def trial_ended(self, trial_id: str) -> None:
        self.times.append(time.perf_counter())

    def each(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def raysl_trials(count: int, folder: Path) -> tuple[list[float], float]:
    """Return each trial's wall seconds, and the median seconds that the training itself took."""
    file = folder / "trivial.yaml"
    file.write_text(EXPERIMENT.format(trials=count))
    experiment = load(file)
    data = resolve(experiment.data, inspect(experiment.data))
    trials = expand(experiment, experiment.stages[0], {experiment.stages[0].name: data}, {})
    store, ends = Store.open(str(folder / "results"), create=True), Ends()
    with Leases(store) as leases:
        run_trials(TrialQueue(trials, (), {}, leases), store, experiment.resources, 1, ends, lambda: None)
    rows = read_rows(store, [trial.spec.id for trial in trials])
    return ends.each(), statistics.median(row.seconds for row in rows.values())


def _step(config: dict[str, Any]) -> None:
    model = torch.nn.Linear(4, 1)
    model(torch.ones(2, 4)).sum().backward()
    train.report({"loss": 0.0})


def _nested(config: dict[str, Any]) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    run = train.RunConfig(storage_path=config["folder"], name=str(config["trial"]), callbacks=[TuneReportCallback()])
    TorchTrainer(_step, scaling_config=train.ScalingConfig(num_workers=1), run_config=run).fit()


class _Noting(tune.Callback):
    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, **_: Any) -> None:
        self.times.append(time.perf_counter())


def nested_trials(count: int, folder: Path) -> list[float]:
    """Return each trial's wall seconds in the documented nested pattern."""
    noting = _Noting()
    tune.Tuner(
        tune.with_resources(_nested, {"node:__internal_head__": 0.001}),
        param_space={"trial": tune.grid_search(list(range(count))), "folder": str(folder)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[noting]),
    ).fit()
    return [after - before for before, after in zip(noting.times, noting.times[1:], strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--nested", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster(None):
        own, training = raysl_trials(arguments.trials, Path(folder))
        nested = nested_trials(arguments.nested, Path(folder))
    mine, theirs = statistics.median(own[1:]) - training, statistics.median(nested[1:])
    print(f"{'pattern':<44}{'trials':>7}{'first (s)':>11}{'each further (s), median (min-max)':>37}")
    for name, times in (
        ("raysl: Tune actor -> TorchTrainer in place", own),
        ("nested: Tune function -> TorchTrainer", nested),
    ):
        spread = f"{statistics.median(times[1:]):.3f} ({min(times[1:]):.3f}-{max(times[1:]):.3f})"
        print(f"{name:<44}{len(times):>7}{times[0]:>11.2f}{spread:>37}")
    print(
        f"training itself: {training:.3f} s of each raysl trial; beyond it {mine:.3f} s; "
        f"nested takes {theirs / mine:.0f} x as much"
    )


if __name__ == "__main__":
    main()
