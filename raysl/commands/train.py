"""`raysl train`."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote

from rich.console import Console

from raysl.commands.setting_up import prepare_data, resolve_data
from raysl.config import load
from raysl.console.screen import screen
from raysl.errors import UserError, choices, dotted
from raysl.results.rows import Epoch, read_rows
from raysl.results.store import Store
from raysl.search.chain import selected_starts
from raysl.search.code import other_code
from raysl.search.experiment import Experiment, Stage
from raysl.search.selection import params_text
from raysl.search.trials import Datas, Trial, expand


def train(
    file: Path, profile: str | None, overrides: Sequence[str], stage_name: str | None, seed: int, results: str | None
) -> None:
    """Train the one trial that a stage, a seed and the overrides leave."""
    console = screen()
    experiment = load(file, profile, overrides)
    stage = _stage(experiment, stage_name)
    if len(stage.configs) != 1:
        num_configs = stage.settings.search.num_configs if stage.adaptive else len(stage.configs)
        path = dotted(("stages", stage.name))
        space = "; ".join(f"--set {quote(f'{path}.{key}=...')}, {values}" for key, values in stage.space.items())
        grid = f"; --set {quote(f'{path}.search=null')}" if stage.settings.search.algorithm != "grid" else ""
        raise UserError(
            f"{file}: stage {stage.name!r} has {num_configs} configs and train takes one; fix {space}{grid}"
        )
    datas = resolve_data(experiment, console)
    prepare_data(datas[stage.name], console)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.open(results or scratch, create=True)
        starts = _starts(experiment, stage, datas, seed, store, results)
        trial = _trial(experiment, stage, datas, seed, starts)
        _run(trial, experiment, store, console)


def _stage(experiment: Experiment, name: str | None) -> Stage:
    names = [stage.name for stage in experiment.stages]
    if name is None and len(names) == 1:
        return experiment.stages[0]
    if name not in names:
        given = f"--stage {name}" if name else f"{experiment.name} has {len(names)} stages; give --stage"
        raise UserError(f"{given}: {choices(name or '', names)}")
    return experiment.stages[names.index(name)]


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


def _trial(experiment: Experiment, stage: Stage, datas: Datas, seed: int, starts: dict[int, str]) -> Trial:
    return expand(replace(experiment, seeds=(seed,)), stage, datas, starts)[0]


def _run(trial: Trial, experiment: Experiment, store: Store, console: Console) -> None:
    from raysl.training.loop import Execution, device_for
    from raysl.training.trial import run_trial

    spec = trial.spec
    console.print(
        f"trial {spec.id}: {spec.method['name']}, {params_text(trial.params)}, seed={spec.seed}", markup=False
    )

    known = read_rows(store, filter(None, (spec.id, spec.start)))
    if (found := other_code(store, known.values())).trial_ids:
        text = f"{found}; `raysl tune FILE --retrain code` trains them again"
        console.print(text, style="yellow", markup=False, soft_wrap=True)

    def report(epoch: Epoch) -> None:
        terms = ", ".join(f"{name} {value:.6g}" for name, value in epoch.terms.items())
        console.print(
            f"epoch {epoch.epoch + 1}/{spec.epochs}: loss {epoch.loss:.6g} ({terms}), "
            f"lr {epoch.lr:.3g}, {epoch.seconds:.2f} s",
            markup=False,
        )

    resources = experiment.resources
    execution = Execution(device_for(resources.gpus), resources.cpus, resources.checkpoint_seconds, trial.milestones)
    with _warnings_shown():
        row = run_trial(spec, store, execution, report)
    assert row is not None, "one process is rank 0"
    probed = ", probe accuracy on the labelled training images {:.1f} %"
    accuracy = "" if row.probe_accuracy is None else probed.format(100 * row.probe_accuracy)
    trained = "nothing is trained" if row.status == "finished" else row.reason
    final = f"final loss {row.final_loss!r}" if row.final_loss is not None else trained
    console.print(f"{row.status}: {final}{accuracy} ({row.seconds:.1f} s)", markup=False)


@contextmanager
def _warnings_shown() -> Iterator[None]:
    handler, log = logging.StreamHandler(), logging.getLogger("raysl")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
