"""`raysl train`."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from raysl.api.training import PreparedTrial, prepared_trial
from raysl.config import load
from raysl.console.outcome_text import probe_texts
from raysl.console.progress import preparation
from raysl.console.screen import screen
from raysl.results.records.rows import Epoch, TrialRow, read_rows
from raysl.search.code import other_code
from raysl.search.config_means import params_text


def train(
    file: Path, profile: str | None, overrides: Sequence[str], stage_name: str | None, seed: int, results: str | None
) -> None:
    """Train the only trial of a stage, a seed and the overrides."""
    console = screen()
    experiment = load(file, profile, overrides)
    with ExitStack() as stack:
        with preparation(console) as told:
            prepared = stack.enter_context(prepared_trial(experiment, stage_name, seed, results, told))
        _say_what(prepared, console)
        with _warnings_shown():
            row = prepared.run(lambda epoch: _say_epoch(epoch, prepared.trial.spec.epochs, console))
    _say_end(row, console)


def _say_what(prepared: PreparedTrial, console: Console) -> None:
    spec = prepared.trial.spec
    console.print(
        f"trial {spec.id}: {spec.method['name']}, {params_text(prepared.trial.params)}, seed={spec.seed}", markup=False
    )
    known = read_rows(prepared.store, filter(None, (spec.id, spec.start)))
    if (found := other_code(prepared.store, known.values())).trial_ids:
        text = f"{found}; `raysl tune FILE --retrain code` trains them again"
        console.print(text, style="yellow", markup=False, soft_wrap=True)


def _say_epoch(epoch: Epoch, epochs: int, console: Console) -> None:
    terms = ", ".join(f"{name} {value:.6g}" for name, value in epoch.terms.items())
    console.print(
        f"epoch {epoch.epoch + 1}/{epochs}: loss {epoch.loss:.6g} ({terms}), lr {epoch.lr:.3g}, {epoch.seconds:.2f} s",
        markup=False,
    )


def _say_end(row: TrialRow, console: Console) -> None:
    probed = "".join(f", {text}" for text in probe_texts(row, " on the labelled training images"))
    trained = "nothing is trained" if row.status == "finished" else row.reason
    final = f"final loss {row.final_loss!r}" if row.final_loss is not None else trained
    console.print(f"{row.status}: {final}{probed} ({row.seconds:.1f} s)", markup=False)


@contextmanager
def _warnings_shown() -> Iterator[None]:
    handler, log = logging.StreamHandler(), logging.getLogger("raysl")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
