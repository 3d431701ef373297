"""Trials that train in a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import write

from raysl.config import load
from raysl.data.storage.scan import inspect, resolve
from raysl.results.records.rows import Epoch, TrialRow
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training.early_stopping import EarlyStoppingCohort
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec
from raysl.training.trial import run_trial


class KilledError(Exception):
    pass


@pytest.fixture
def make_spec(tmp_path: Path) -> Callable[..., TrialSpec]:
    """Return what gives a trial of the tiny experiment: overrides of its file, and changes of the spec itself."""

    def make(*overrides: str, stage: str = "semi", seed: int = 0, **changes: Any) -> TrialSpec:
        experiment = load(write(tmp_path), overrides=["stages.semi.optimizer.lr=1e-3", *overrides])
        datas = {each.name: resolve(experiment.data, inspect(experiment.data)) for each in experiment.stages}
        (found,) = (each for each in experiment.stages if each.name == stage)
        return expand(experiment, found, datas, {})[seed].spec.model_copy(update=changes)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "results"), create=True)


@pytest.fixture
def train() -> Callable[..., TrialRow]:
    """Return what trains a trial, with a checkpoint after each epoch; `seen` gets the epochs that it trains."""

    def trained(
        spec: TrialSpec,
        store: Store,
        *milestones: int,
        cohort: EarlyStoppingCohort | None = None,
        seen: list[int] | None = None,
    ) -> TrialRow:
        epochs = [] if seen is None else seen
        execution = Execution(checkpoint_seconds=0.0, milestones=milestones)
        row = run_trial(spec, store, execution, lambda epoch: epochs.append(epoch.epoch), cohort)
        assert row is not None
        return row

    return trained


@pytest.fixture
def kill() -> Callable[..., None]:
    """Return what trains a trial and kills it after so many epochs."""

    def killed(
        spec: TrialSpec, store: Store, after: int, *milestones: int, cohort: EarlyStoppingCohort | None = None
    ) -> None:
        def report(epoch: Epoch) -> None:
            if epoch.epoch + 1 == after:
                raise KilledError

        with pytest.raises(KilledError):
            run_trial(spec, store, Execution(checkpoint_seconds=0.0, milestones=milestones), report, cohort)

    return killed
