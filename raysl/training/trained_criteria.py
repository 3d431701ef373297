"""Measures label-free criteria: of weights that were just trained, or of those of a trial that has a row already."""

import logging
import time
from collections.abc import Mapping, Sequence

import torch

from raysl import collectives
from raysl.errors import CheckpointError
from raysl.methods._method import Method
from raysl.results.criteria import CriterionName
from raysl.results.records.rows import read_row
from raysl.results.storage.store import Store
from raysl.training.building import trained_method
from raysl.training.input_pipeline import Feed
from raysl.training.kept_models import has_model
from raysl.training.label_free import measure
from raysl.training.loop import Ending
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec
from raysl.training.tasks import task_of
from raysl.training.trained_row import with_criteria

log = logging.getLogger(__name__)


def measure_trained(
    method: Method, feed: Feed, criteria: Sequence[CriterionName]
) -> tuple[Ending | None, Mapping[str, float], Mapping[str, float | None], float]:
    """Return the divergence of trained weights, if there is one, their probe's metrics, and some criteria, by name.

    Also return the seconds that the criteria took.
    """
    ending, metrics = task_of(feed.spec).probe(method, feed)
    if ending is not None:
        return ending, {}, {}, 0.0
    started = time.perf_counter()
    ending, found = measure(method, feed, criteria)
    seconds = time.perf_counter() - started
    return (None, metrics, found, seconds) if ending is None else (ending, {}, {}, seconds)


def add_criteria(spec: TrialSpec, store: Store, execution: Execution) -> None:
    """Measure the criteria that the row of a finished trial lacks, and write them into it, without training.

    Called on every rank; rank 0 measures. Nothing is written if the trial's model is missing.
    """
    if not execution.criteria:
        return
    row = read_row(store, spec.id) if collectives.rank() == 0 else None
    lacking = [] if row is None or row.is_unprobed else row.lacks(execution.criteria)
    device = prepare_process(spec, execution)
    wanted = torch.tensor(float(bool(lacking) and has_model(store, spec.id)), device=device)
    if float(collectives.mean_over_ranks(wanted)) == 0:
        return
    if row is not None:
        try:
            method = trained_method(spec, store).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except CheckpointError as error:
            log.warning("is trained again: %s", error)
        else:
            ending, found = measure(method, Feed(spec, method.views(), device), execution.criteria)
            with_criteria(store, row, found if ending is None else dict.fromkeys(lacking))
    collectives.mean_over_ranks(wanted)  # the other ranks wait, and then read what was written
