"""A results folder as a long search leaves it, written by raysl's own writers without training."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import raysl
from raysl.config import load
from raysl.data.storage.scan import inspect, resolve
from raysl.results.records.features import Features, write_features
from raysl.results.records.rows import Epoch, Score, TrialRow, read_rows, write_row, write_score
from raysl.results.records.stages import StageRecord, write_selection, write_stage
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment
from raysl.search.selection import select
from raysl.search.summary import publish_store
from raysl.search.trials import Datas, Trial, expand, stage_record
from raysl.tracking.sync_manifest import Tracked
from raysl.tracking.uri import default_uri, sqlite_path

SEEDS = 5
BEGUN = 1_700_000_000.0
EXPERIMENT = """\
name: scale
data: {{source: digits, labels: 50}}
model: {{backbone: small_resnet, features: 128}}
seeds: {seeds}
stages:
  semi:
    method: {{name: semi, pretext: {{name: rotation}}}}
    epochs: {epochs}
    batch_size: 32
    optimizer: {{name: adam, lr: {{loguniform: [1e-5, 1e-1]}}}}
    schedule: {{name: exponential}}
    search: {{algorithm: random, num_configs: {configs}}}
"""


@dataclass(frozen=True)
class Filled:
    """A folder of finished trials, and the experiment that they are of."""

    file: Path
    store: Store
    experiment: Experiment
    datas: Datas
    trials: tuple[Trial, ...]

    @property
    def record(self) -> StageRecord:
        """The record of its only stage."""
        return stage_record(self.experiment, self.experiment.stages[0], self.datas, {}, BEGUN, self.trials)


def experiment_in(folder: Path, trials: int, epochs: int) -> Filled:
    """Write an experiment of so many trials; its results folder is there, and empty."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scale.yaml"
    file.write_text(EXPERIMENT.format(seeds=SEEDS, epochs=epochs, configs=trials // SEEDS))
    experiment = load(file)
    datas = {"semi": resolve(experiment.data, inspect(experiment.data))}
    store = Store.open(str(folder / "results"), create=True)
    return Filled(file, store, experiment, datas, expand(experiment, experiment.stages[0], datas, {}))


def fill(folder: Path, trials: int, epochs: int) -> Filled:
    """Fill a new folder with finished trials, their selection, scores and features, and the published tables."""
    filled = experiment_in(folder, trials, epochs)
    store, record = filled.store, filled.record
    write_stage(store, record)
    draw = random.Random(0)
    for trial in filled.trials:
        write_row(store, row_of(trial, draw))
    selection = select(record, read_rows(store), BEGUN)
    write_selection(store, selection)
    for trial_id in selection.trial_ids:
        write_score(store, Score(trial_id, {"accuracy": draw.random()}, 500, "{}"))
        write_features(store, _features(trial_id))
    publish_store(store)
    note_tracked(store)
    return filled


def note_tracked(store: Store) -> None:
    """Let the tracking store of a folder count as up to date."""
    # MLflow takes minutes to make ten thousand runs. An empty database stands for the one that has them: what is
    # remembered of it is that nothing has changed since, and so nobody opens it.
    uri = default_uri(store)
    database = sqlite_path(uri)
    assert database is not None
    database.touch()
    time.sleep(0.1)
    tracked = Tracked(store, uri)
    tracked.is_up_to_date()
    tracked.note()


def row_of(trial: Trial, draw: random.Random) -> TrialRow:
    """Return what a finished trial may come to."""
    spec = trial.spec
    curve = tuple(_epoch(place, draw) for place in range(spec.epochs))
    started = BEGUN + draw.random() * 1e6
    return TrialRow(
        trial_id=spec.id,
        status="finished",
        reason="",
        method=str(spec.method["name"]),
        seed=spec.seed,
        final_loss=curve[-1].loss,
        probe={"accuracy": draw.random()},
        epochs=spec.epochs,
        num_parameters=175_000,
        seconds=sum(epoch.seconds for epoch in curve),
        started_at=started,
        finished_at=started + 100 + draw.random(),
        workers=1,
        device="cpu",
        raysl_version=raysl.__version__,
        torch_version="2.15.0",
        spec=spec.model_dump_json(),
        curve=curve,
    )


def _epoch(place: int, draw: random.Random) -> Epoch:
    terms = {"supervised": draw.random() / (place + 1), "rotation": draw.random() / (place + 1)}
    return Epoch(place, 0.01 * 0.9**place, sum(terms.values()), terms, 1.0 + draw.random())


def _features(trial_id: str) -> Features:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, 500)
    features = draw.random((500, 128), dtype=np.float32)
    return Features(trial_id, tuple(map(str, range(10))), "digits", labels, labels, features)
