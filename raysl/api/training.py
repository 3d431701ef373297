"""`raysl.train`: one trial, trained in this process."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from shlex import quote

from raysl.api.launching import check_whole
from raysl.api.loading import Source, as_experiment
from raysl.api.observer import Observer, Preparation, checked_observer
from raysl.api.start_weights import resolve_experiment, ship_weights
from raysl.api.turns import own_turn
from raysl.data.storage.decoded_cache import prepare
from raysl.errors import UserError, choices, dotted
from raysl.results.records.rows import Epoch, TrialRow
from raysl.results.storage.store import Store
from raysl.search.experiment import Experiment, Stage
from raysl.search.stage_starts import selected_starts
from raysl.search.trials import Datas, Trial, expand

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class PreparedTrial:
    """A trial that is ready to train; store: its results folder."""

    experiment: Experiment
    trial: Trial
    store: Store

    def run(self, report: Callable[[Epoch], None]) -> TrialRow:
        """Return the trial's row; train it first unless it is done.  report: called after each epoch."""
        from raysl.training.process import Execution, device_for
        from raysl.training.torch_state import kept_torch_state
        from raysl.training.trial import run_trial

        resources = self.experiment.resources
        with kept_torch_state():
            device = device_for(resources.gpus)
            seconds, criteria = resources.checkpoint_seconds, self.trial.criteria
            execution = Execution(device, resources.cpus, seconds, self.trial.milestones, criteria=criteria)
            row = run_trial(self.trial.spec, self.store, execution, report)
        assert row is not None, "one process is rank 0"
        return row


def train(
    experiment: Experiment | Source,
    stage: str | None = None,
    seed: int = 0,
    results: str | os.PathLike[str] | None = None,
    *,
    report: Callable[[Epoch], None] | None = None,
    observer: Observer | None = None,
) -> TrialRow:
    """Train one trial in this process, without Ray; its numbers are the same as in a search.

    Args:
        experiment: what `raysl.load` returns, the path of an experiment's YAML, or a dict; its stage has one config.
        stage: name of the stage; the only one if None.
        seed: of the trial, from 0 to 4294967295.
        results: folder or URI that keeps the trial, and whose selected models it may start from; nothing is kept if
            None.
        report: called after each epoch with its number, losses, learning rate and seconds.
        observer: receives the events before the training: notes, downloads, decoding.

    Returns:
        the trial's row: its status (`finished`, `diverged`, `collapsed`), final loss, probe accuracy and curve.

    Raises:
        UserError: an argument is wrong; the stage has several configs; the stage starts from another one, of which
            `results` has no selected model for the seed.

    Example:
        row = raysl.train(raysl.load(FILE, overrides={"stages.semi.optimizer.lr": 1e-3}), stage="semi", seed=1)
        row.final_loss
    """
    told = checked_observer(observer)
    folder = None if results is None else os.fsdecode(results)
    with own_turn(), prepared_trial(as_experiment(experiment), stage, seed, folder, told) as prepared:
        return prepared.run(report or (lambda epoch: None))


@contextmanager
def prepared_trial(
    experiment: Experiment, stage_name: str | None, seed: int, results: str | None, told: Preparation
) -> Iterator[PreparedTrial]:
    """Yield the only trial of a stage and a seed, its images decoded; in a temporary folder if `results` is None.

    Raises UserError as `train` does.
    """
    check_whole("--seed", seed, 0, LARGEST_SEED)
    stage = _stage(experiment, stage_name)
    _check_one_config(experiment, stage)
    experiment, datas = resolve_experiment(experiment, told)
    prepare(datas[stage.name], progress=told.preparing)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.open(results or scratch, create=True)
        ship_weights(experiment, datas, store)
        starts = _starts(experiment, stage, datas, seed, store, results)
        trial = expand(replace(experiment, seeds=(seed,)), stage, datas, starts)[0]
        yield PreparedTrial(experiment, trial, store)


def _stage(experiment: Experiment, name: str | None) -> Stage:
    names = [stage.name for stage in experiment.stages]
    if name is None and len(names) == 1:
        return experiment.stages[0]
    if name not in names:
        given = f"--stage {name}" if name else f"{experiment.name} has {len(names)} stages; give --stage"
        raise UserError(f"{given}: {choices(str(name or ''), names)}")
    return experiment.stages[names.index(name)]


def _check_one_config(experiment: Experiment, stage: Stage) -> None:
    if len(stage.configs) == 1:
        return
    num_configs = stage.settings.search.num_configs if stage.adaptive else len(stage.configs)
    path = dotted(("stages", stage.name))
    space = "; ".join(f"--set {quote(f'{path}.{key}=...')}, {values}" for key, values in stage.space.items())
    grid = f"; --set {quote(f'{path}.search=null')}" if stage.settings.search.algorithm != "grid" else ""
    raise UserError(
        f"{experiment.place(path)}: stage {stage.name!r} has {num_configs} configs and train takes one; fix "
        f"{space}{grid}"
    )


def _starts(
    experiment: Experiment, stage: Stage, datas: Datas, seed: int, store: Store, results: str | None
) -> dict[int, str]:
    starts = selected_starts(experiment, stage, datas, store)
    if starts is None or (stage.start_from is not None and seed not in starts):
        raise UserError(
            f"--results {results or '(not given)'}: stage {stage.name!r} starts from the model that seed {seed} has in "
            f"stage {stage.start_from!r} of this experiment, and no selection there holds it; `raysl tune` first, and "
            "give its results folder"
        )
    return starts
