"""What a trial costs beyond its training: raysl beside what a user would pick instead.

    uv run python tests/benchmarks/search_overhead.py [--trials 15] [--nested 4] [--workers 1 2]

Trains trials of a trivial model (one epoch of one step) one at a time and prints, for each pattern, the wall seconds of
the first trial (start-up of its processes) and the median of each further one, beyond the training itself:

- a plain loop over `run_trial`, in one process, without Ray;
- Optuna's ask and tell around a pool of one process, with the study in SQLite;
- raysl inline, and on Ray with one worker and with two;
- the nested pattern, which is what Ray documents for tuning a trainer: a Tune function that builds a TorchTrainer and
  calls fit().  Its trials take many seconds each, so there are fewer of them.
"""

import argparse
import itertools
import math
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
from ray import train, tune
from ray.train.torch import TorchTrainer

from raysl.config import load
from raysl.data.storage.scan import inspect, resolve
from raysl.launch.cluster.ray_cluster import cluster
from raysl.launch.coordination.leases import Leases
from raysl.launch.driver.train_source import TrainSource
from raysl.launch.driver.trial_queue import TrialQueue
from raysl.launch.runtime import inline, tune_runner
from raysl.results.records.rows import TrialRow, read_rows
from raysl.results.storage.store import Store
from raysl.search.experiment import Resources
from raysl.search.trials import Trial, expand
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial

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


@dataclass
class Measured:
    """Each trial's wall seconds.  training: the median seconds that the training itself took."""

    pattern: str
    seconds: list[float]
    training: float

    @property
    def further(self) -> list[float]:
        return [max(seconds - self.training, 0.0) for seconds in self.seconds[1:]]


class Ends:
    """Notes when each trial ends."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def trial_started(self, trial_id: str) -> None:
        pass

    def trial_progressed(self, trial_id: str, epoch: int, epochs: int, loss: float) -> None:
        pass

    def trial_ended(self, row: TrialRow) -> None:
        self.times.append(time.perf_counter())

    def waiting(self, what: str) -> None:
        pass

    def each(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.times)]


def trials_of(folder: Path, count: int) -> list[Trial]:
    file = folder / "trivial.yaml"
    file.write_text(EXPERIMENT.format(trials=count))
    experiment = load(file)
    data = resolve(experiment.data, inspect(experiment.data))
    return list(expand(experiment, experiment.stages[0], {experiment.stages[0].name: data}, {}))


def training_seconds(store: Store, trials: list[Trial]) -> float:
    return statistics.median(row.seconds for row in read_rows(store, [trial.spec.id for trial in trials]).values())


def new_store(folder: Path) -> Store:
    return Store.open(tempfile.mkdtemp(dir=folder), create=True)


def raysl_trials(trials: list[Trial], folder: Path, workers: int | None) -> Measured:
    """Train trials as a search does, inline where no number of workers is given."""
    store, ends = new_store(folder), Ends()
    with Leases(store) as leases:
        queue = TrialQueue(trials, (), {}, leases)
        work = TrainSource(queue, store, Resources(workers=workers or 1), 1, ends, lambda row: None)
        if workers is None:
            inline.run(work, iter(()), lambda: None)
        else:
            tune_runner.run(work, iter(()), lambda: None, stay=math.inf)
    name = "raysl, inline" if workers is None else f"raysl, {workers} worker(s)"
    return Measured(name, ends.each(), training_seconds(store, trials))


def _train_one(spec: TrialSpec, uri: str) -> None:
    run_trial(spec, Store.open(uri, create=False), Execution("cpu", 1), lambda epoch: None)


def loop_trials(trials: list[Trial], folder: Path) -> Measured:
    store, ends = new_store(folder), Ends()
    for trial in trials:
        _train_one(trial.spec, store.uri)
        ends.times.append(time.perf_counter())
    return Measured("plain loop", ends.each(), training_seconds(store, trials))


def optuna_trials(trials: list[Trial], folder: Path) -> Measured:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    store, ends = new_store(folder), Ends()
    study = optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for trial in trials:
            asked = study.ask()
            asked.suggest_float("lr", 1e-4, 1e-1, log=True)
            pool.submit(_train_one, trial.spec, store.uri).result()
            study.tell(asked, read_rows(store, [trial.spec.id])[trial.spec.id].final_loss)
            ends.times.append(time.perf_counter())
    return Measured("Optuna, process pool", ends.each(), training_seconds(store, trials))


def _step(config: dict[str, Any]) -> None:
    import torch

    model = torch.nn.Linear(4, 1)
    model(torch.ones(2, 4)).sum().backward()
    train.report({"loss": 0.0})


def _nested(config: dict[str, Any]) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    name = f"{config['workers']}-{config['trial']}"
    training = train.RunConfig(storage_path=config["folder"], name=name, callbacks=[TuneReportCallback()])
    TorchTrainer(_step, scaling_config=train.ScalingConfig(num_workers=config["workers"]), run_config=training).fit()


class _Noting(tune.Callback):
    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, **_: Any) -> None:
        self.times.append(time.perf_counter())


def nested_trials(count: int, folder: Path, workers: int) -> Measured:
    noting = _Noting()
    tune.Tuner(
        tune.with_resources(_nested, {"node:__internal_head__": 0.001}),
        param_space={"trial": tune.grid_search(list(range(count))), "folder": str(folder), "workers": workers},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[noting]),
    ).fit()
    seconds = [after - before for before, after in itertools.pairwise(noting.times)]
    return Measured(f"nested, {workers} worker(s)", seconds, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--nested", type=int, default=4, help="2 or more")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of each trial on Ray")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trials = trials_of(folder, arguments.trials)
        measured = [loop_trials(trials, folder), optuna_trials(trials, folder), raysl_trials(trials, folder, None)]
        for workers in arguments.workers:
            with cluster(None):
                measured.append(raysl_trials(trials, folder, workers))
            with cluster(None):
                measured.append(nested_trials(arguments.nested, folder, workers))
    print(f"{'pattern':<24}{'trials':>7}{'first (s)':>11}{'each further: training (s)':>28}{'beyond it (s)':>24}")
    for one in measured:
        further = one.further
        beyond = f"{statistics.median(further):.3f} ({min(further):.3f}-{max(further):.3f})"
        print(f"{one.pattern:<24}{len(one.seconds):>7}{one.seconds[0]:>11.2f}{one.training:>28.3f}{beyond:>24}")
    by_name = {one.pattern: statistics.median(one.further) for one in measured}
    for workers in arguments.workers:
        ratio = by_name[f"nested, {workers} worker(s)"] / by_name[f"raysl, {workers} worker(s)"]
        print(f"with {workers} worker(s), nested takes {ratio:.0f} x as much as raysl")


if __name__ == "__main__":
    main()
