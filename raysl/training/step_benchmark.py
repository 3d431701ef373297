"""Measures how long a step of a trial takes on this machine, and the criteria of its weights."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

from raysl.data.registry.expected import stand_in
from raysl.data.sampling.batches import Batch
from raysl.methods._method import Method
from raysl.results.storage.store import Store
from raysl.training.building import build_method, without_start
from raysl.training.features import FEATURE_BATCH, pooled_features
from raysl.training.graphed_step import EAGER_STEPS
from raysl.training.label_free import seconds_to_measure
from raysl.training.loop import Loop
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec


@dataclass(frozen=True)
class Cost:
    """The cost of a trial's training.

    seconds: the median of a step, plus its share of the one-off cost.  steps: the number of steps of an epoch.
    num_parameters: of the whole method.  criteria_seconds: to measure the criteria of the trained weights.
    """

    seconds: float
    steps: int
    num_parameters: int
    criteria_seconds: float = 0.0


def measure(
    spec: TrialSpec, store: Store, execution: Execution, steps: int, epoch_seconds: float | None = None
) -> Cost:
    """Return the cost of a trial's steps, measured on a few steps from scratch after warm-up steps.

    The criteria that `execution` names are measured as well.  A trial that trains nothing has 0 steps.
    If the images are not on this machine, noise replaces them.

    epoch_seconds: of an epoch, where it is known: no step is measured then.
    """
    spec = without_start(spec)
    if not spec.trains:
        return Cost(0.0, 0, _num_parameters(_untrained(spec, store, execution)))
    loop = Loop(spec, store, execution, stand_in(spec.data) if spec.data.is_missing else None)
    loop.method.train()
    per_step = _step_seconds(loop, steps) if epoch_seconds is None else epoch_seconds / loop.steps
    criteria = execution.criteria
    measuring = seconds_to_measure(loop.method, loop.feed, criteria) if criteria else 0.0
    return Cost(per_step, loop.steps, _num_parameters(loop.method), measuring)


def _step_seconds(loop: Loop, steps: int) -> float:
    """Return the median of a step, plus its share of the one-off cost."""
    once = _pool_some(loop) if loop.pools_once else 0.0
    seconds = []
    warm_up = 1 if loop.graphed is None else EAGER_STEPS + 1
    for batch in islice(_all_batches(loop), warm_up + steps):
        started = time.perf_counter()
        losses = loop.step(loop.method, loop.feed.make_views(batch, 0), loop.step_of(0, batch.step))
        float(losses.total.detach())  # waits for the device
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[warm_up:] or seconds) + once / (loop.steps * loop.spec.epochs)


def _all_batches(loop: Loop) -> Iterator[Batch]:
    return chain.from_iterable(loop.feed.batches(epoch, 0, 1) for epoch in range(loop.spec.epochs))


def _untrained(spec: TrialSpec, store: Store, execution: Execution) -> Method:
    prepare_process(spec, execution)
    assert spec.data.channels is not None, "a trial's data are resolved"
    return build_method(spec, spec.data.channels, store)


def _num_parameters(method: Method) -> int:
    return sum(parameter.numel() for parameter in method.parameters())


def _pool_some(loop: Loop) -> float:
    """Return the seconds to pool all of D_l, extrapolated from a batch, whose features stand for those of D_l."""
    images, _ = loop.feed.labelled_images()
    some = images[:FEATURE_BATCH]
    for _ in range(2):  # the first one is a warm-up
        started = time.perf_counter()
        pooled = pooled_features(loop.method.encoder, some, loop.feed.normalise)
        float(pooled[0, 0])  # waits for the device
        seconds = time.perf_counter() - started
    loop.feed.pooled = pooled.repeat(-(-len(images) // len(some)), 1)
    return seconds * len(images) / len(some)
