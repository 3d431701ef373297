"""Runs one trial, from its spec to its row."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from raysl import collectives
from raysl.errors import CheckpointError
from raysl.results.records.rows import Epoch, TrialRow, read_row
from raysl.results.storage.store import Store
from raysl.training.code import code_of
from raysl.training.early_stopping import EarlyStoppingCohort
from raysl.training.kept_models import has_model, kept_model_path
from raysl.training.loop import Ending, Loop
from raysl.training.measuring import measure_start, take_over
from raysl.training.paths import checkpoint_path
from raysl.training.process import Execution
from raysl.training.save_resume import resume, save_checkpoint, save_model
from raysl.training.spec import TrialSpec
from raysl.training.trained_criteria import add_criteria, measure_trained
from raysl.training.trained_row import with_criteria, write_trained

LEAVING_SECONDS = 5.0  # least time between two checkpoints while a rank's machine is about to be taken away

log = logging.getLogger(__name__)


def run_trial(
    spec: TrialSpec,
    store: Store,
    execution: Execution,
    report: Callable[[Epoch], None],
    cohort: EarlyStoppingCohort | None = None,
    weights_of: str | None = None,
) -> TrialRow | None:
    """Train a trial on this rank, from its last checkpoint if there is one, and write its models and its row.

    report: called on every rank after every epoch.
    cohort: may stop the trial early; if None, a trial that was stopped is trained to its end.
    weights_of: id of a trained trial with the same weights; if its models exist, this trial is only measured.
    Returns the row on rank 0 and None on others.
    Raises CheckpointError if a model of a finished trial is missing that was made by other code.
    """
    if not spec.trains:
        return measure_start(spec, store, execution)
    milestones = [epoch for epoch in execution.milestones if epoch < spec.epochs]
    if weights_of is not None:
        take_over(spec, store, execution, weights_of, milestones)
    add_criteria(spec, store, execution)
    known = _kept_row(spec, store)
    if known is not None and known.status == "finished":
        cohort = None  # its row is final
    lost = [epoch for epoch in milestones if not has_model(store, spec.id, epoch)]
    if known is not None and not known.lacks(execution.criteria) and _is_done(known, store, lost, cohort):
        return known if collectives.rank() == 0 else None
    if known is not None and known.status == "finished" and known.code not in (None, code_of(spec, store).digest):
        place = store.address(kept_model_path(store, spec.id))
        raise CheckpointError(f"{place}: gone, and it was trained with other code; this code would train another model")
    only_milestones = bool(lost) and known is not None and known.status == "finished" and has_model(store, spec.id)
    loop = _resumed(spec, store, execution, lost)
    stopped = _train(loop, max(lost) if only_milestones else spec.epochs, milestones, cohort, report)
    if loop.rank != 0:
        return None
    if only_milestones:
        store.delete(checkpoint_path(spec.id))
        return known
    return finish(loop, stopped)


def _kept_row(spec: TrialSpec, store: Store) -> TrialRow | None:
    """Return a trial's row; None if there is none, or one without its probe's metrics, which training replaces."""
    known = read_row(store, spec.id)
    return None if known is not None and known.is_unprobed else known


def _is_done(row: TrialRow, store: Store, lost: Sequence[int], cohort: EarlyStoppingCohort | None) -> bool:
    """Return whether nothing is left to do for a trial that has a row.

    lost: milestones without a model.
    """
    match row.status:
        case "diverged" | "collapsed":
            return True
        case "stopped":
            return cohort is not None and cohort.has(row.trial_id)
        case "finished":
            return not lost and has_model(store, row.trial_id)
        case "failed":
            return False


def _resumed(spec: TrialSpec, store: Store, execution: Execution, lost: Sequence[int]) -> Loop:
    """Return a trial's loop, resumed from its checkpoint if all ranks can read it and no earlier milestone is lost."""
    loop = Loop(spec, store, execution)
    if store.exists(checkpoint_path(spec.id)):
        try:
            resume(loop)
        except CheckpointError as error:
            # A new start gives the same numbers; a damaged state would not.
            log.warning("starts again: %s", error)
            loop = Loop(spec, store, execution)
        if gone := [epoch for epoch in lost if epoch <= loop.epochs_done]:
            log.warning("starts again: no model of epoch %d, which the checkpoint is past", gone[0])
            loop = Loop(spec, store, execution)
    done = torch.tensor(float(loop.epochs_done), device=loop.device)
    if float(collectives.mean_over_ranks(done**2) - collectives.mean_over_ranks(done) ** 2) > 0:
        log.warning("starts again: the ranks do not see the same checkpoint")
        return Loop(spec, store, execution)
    if loop.epochs_done:
        log.info("goes on after epoch %d of %d", loop.epochs_done, spec.epochs)
    return loop


def _train(
    loop: Loop,
    last: int,
    milestones: Sequence[int],
    cohort: EarlyStoppingCohort | None,
    report: Callable[[Epoch], None],
) -> str | None:
    """Train up to epoch `last`; return why the cohort stopped the trial, None if it did not."""
    saved = time.time()
    wrapped = loop.wrapped()
    stopped = None
    if loop.rank == 0 and 0 in milestones and not has_model(loop.store, loop.spec.id, 0):
        save_model(loop, 0)  # a loop that is past it has it, or has started again
    while loop.epochs_done < last and loop.ending is None and stopped is None:
        epoch = loop.train_epoch(wrapped)
        log.info(
            "epoch %d of %d: loss %.6g, lr %.3g, %.2f s",
            epoch.epoch + 1,
            loop.spec.epochs,
            epoch.loss,
            epoch.lr,
            epoch.seconds,
        )
        # Before the checkpoint, so a checkpoint exists only for epochs after which the trial was not stopped.
        stopped = None if cohort is None else _stopped(loop, cohort)
        seconds = _checkpoint_seconds(loop)
        if loop.rank == 0 and loop.ending is None and stopped is None:
            saved = _keep(loop, last, milestones, saved, seconds)
        report(epoch)
    return stopped


def _stopped(loop: Loop, cohort: EarlyStoppingCohort) -> str | None:
    """Return why this trial stops now, None if it does not; rank 0 decides for all ranks."""
    reason = _judged(loop, cohort) if loop.rank == 0 else None
    told = torch.tensor(float(reason is not None), device=loop.device)
    return reason or "rank 0 stops" if float(collectives.mean_over_ranks(told)) > 0 else None


def _judged(loop: Loop, cohort: EarlyStoppingCohort) -> str | None:
    trial_id, losses = loop.spec.id, [epoch.loss for epoch in loop.curve]
    if loop.ending is not None:
        if loop.ending.status == "collapsed":
            cohort.withdraw(trial_id)
        return None
    cohort.record(trial_id, losses)
    return cohort.reason(trial_id, losses) if loop.epochs_done < loop.spec.epochs else None


def _checkpoint_seconds(loop: Loop) -> float:
    """Return the least time between two checkpoints; all ranks ask together: any of their machines may leave."""
    leaves = torch.tensor(float(loop.execution.is_node_leaving()), device=loop.device)
    seconds = loop.execution.checkpoint_seconds
    return min(seconds, LEAVING_SECONDS) if float(collectives.mean_over_ranks(leaves)) > 0 else seconds


def _keep(loop: Loop, last: int, milestones: Sequence[int], saved: float, seconds: float) -> float:
    """Write the milestone or checkpoint due after this epoch; return the time of the last checkpoint."""
    done = loop.epochs_done
    if done in milestones and not has_model(loop.store, loop.spec.id, done):
        save_model(loop, done)  # before the checkpoint, which is useless without the models of earlier milestones
    if done < last and time.time() - saved >= seconds:
        save_checkpoint(loop)
        return time.time()
    return saved


def finish(loop: Loop, stopped: str | None = None) -> TrialRow:
    """Return a trained trial's row: write its model, then its row, then drop its checkpoint.

    In this order, a kill in between loses nothing.
    stopped: why a cohort stopped it; None if none did.
    """
    spec, store = loop.spec, loop.store
    ending = Ending("stopped", stopped) if stopped else loop.ending
    metrics: Mapping[str, float] = {}
    criteria: Mapping[str, float | None] = {}
    criteria_seconds = 0.0
    if ending is None:
        ending, metrics, criteria, criteria_seconds = measure_trained(loop.method, loop.feed, loop.execution.criteria)
    other_seconds = loop.other_seconds - criteria_seconds
    if ending is None:
        save_model(loop)
    known = _kept_row(spec, store)
    if known is not None and known.status == "finished":
        # The trial was trained again only for its model, which was missing: a row keeps its numbers.
        if known.final_loss != loop.curve[-1].loss:
            log.warning("final loss %r, where its row says %r", loop.curve[-1].loss, known.final_loss)
        known = with_criteria(store, known, criteria)
        store.delete(checkpoint_path(spec.id))
        return known
    row = write_trained(
        store, spec, loop.method, loop.device, tuple(loop.curve), loop.started, ending, metrics, loop.code,
        other_seconds, criteria,
    )  # fmt: skip
    store.delete(checkpoint_path(spec.id))
    return row
