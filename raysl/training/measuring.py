"""Measures trials without training them, because they have the weights of another trial."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from raysl import collectives
from raysl.errors import CheckpointError
from raysl.results.records.rows import TrialRow, read_row, write_row
from raysl.results.storage.store import Store
from raysl.training.building import trained_method
from raysl.training.code import code_of
from raysl.training.input_pipeline import Feed
from raysl.training.kept_models import has_model
from raysl.training.model_file import read_model, write_model
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec
from raysl.training.tasks import task_of
from raysl.training.trained_row import write_trained

log = logging.getLogger(__name__)


def measure_start(spec: TrialSpec, store: Store, execution: Execution) -> TrialRow | None:
    """Probe a trial's start weights and write its row, without training; return the row on rank 0, None on others."""
    if collectives.rank() != 0:
        return None
    known = read_row(store, spec.id)
    if known is not None and known.status != "failed":
        return known
    started = time.time()
    device = prepare_process(spec, execution)
    method = trained_method(spec, store)
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ending, metrics = task_of(spec).probe(method, Feed(spec, method.views(), device))
    code, seconds = code_of(spec, store), time.time() - started
    return write_trained(store, spec, method, device, (), started, ending, metrics, code, seconds)


def take_over(spec: TrialSpec, store: Store, execution: Execution, donor: str, milestones: Sequence[int]) -> None:
    """Write a trial's models as copies of another trial's with the same weights; write its row unless it has one.

    Called on every rank; rank 0 writes. Nothing is written if the other trial's model is missing.
    donor: id of the other trial.
    milestones: the numbers of epochs after which a model is kept, in addition to the final model.
    """
    device = prepare_process(spec, execution)
    whole = torch.tensor(float(has_model(store, donor)), device=device)
    if float(collectives.mean_over_ranks(whole)) < 1:
        return
    if collectives.rank() == 0 and (row := read_row(store, donor)) is not None:
        try:
            _take_over(spec, store, device, row, milestones)
        except CheckpointError as error:
            log.warning("is trained: %s", error)
    collectives.mean_over_ranks(whole)  # the other ranks wait, and then read what was written


def _take_over(spec: TrialSpec, store: Store, device: torch.device, donor: TrialRow, milestones: Sequence[int]) -> None:
    method = trained_method(spec, store, donor.trial_id)
    for epoch in (None, *milestones):
        _copy(store, donor.trial_id, spec, epoch)
    known = read_row(store, spec.id)
    if known is not None and known.status == "finished" and not known.is_unprobed:
        return
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ending, metrics = task_of(spec).probe(method, Feed(spec, method.views(), device))
    row = replace(donor.for_another(spec.id, spec.model_dump_json()), reason="", probe=metrics)
    if ending is not None:
        row = replace(row, status=ending.status, reason=ending.reason, final_loss=None)
    write_row(store, row)


def _copy(store: Store, donor: str, spec: TrialSpec, epoch: int | None) -> None:
    if has_model(store, donor, epoch) and not has_model(store, spec.id, epoch):
        write_model(store, spec, epoch, read_model(store, donor, epoch))
