"""The training loop, for one process and for DDP."""

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from raysl import collectives
from raysl.data.storage.decoded_cache import TrainArrays
from raysl.methods._method import Losses, Method, Step, View
from raysl.models.batch_norm import sync_batch_norm
from raysl.results.records.rows import CONFIDENT, SPREAD, Epoch, Status
from raysl.results.storage.store import Store
from raysl.training.building import build_method
from raysl.training.code import code_of
from raysl.training.features import pooled_features
from raysl.training.graphed_step import GraphedStep
from raysl.training.input_pipeline import Feed
from raysl.training.optimizers import build_optimizer
from raysl.training.process import Execution, derive, prepare_process
from raysl.training.schedules import lr_factor
from raysl.training.spec import TrialSpec

COLLAPSED = 0.05  # a mean spread below this is a collapse, in batches of any size
SPREAD_OUT = 0.5  # a mean spread above this is never a collapse


class Ending(NamedTuple):
    """The status of a trial that did not finish, and the reason."""

    status: Status
    reason: str


def collapse_below(batch_size: int) -> float:
    """Return the mean spread of an epoch below which a siamese method has collapsed to one point.

    It is COLLAPSED for large batches.  In small ones, batch normalisation centres the embeddings of B images, so one or
    two embeddings of a collapsed batch lie opposite to the others, and the spread is 2 / sqrt(B).  The threshold is
    twice that, at most SPREAD_OUT: sound training keeps a spread of 0.8 or more.
    """
    return max(COLLAPSED, min(SPREAD_OUT, 4 / math.sqrt(batch_size)))


class Loop:
    """A trial's training on this rank: its method, optimizer, progress and curve.

    arrays: images to use instead of those of its data.
    """

    def __init__(self, spec: TrialSpec, store: Store, execution: Execution, arrays: TrainArrays | None = None) -> None:
        self.spec, self.store, self.execution = spec, store, execution
        self.code = code_of(spec, store)
        self.device = prepare_process(spec, execution)
        self.curve: list[Epoch] = []
        self.started = self.begun = time.time()  # of the trial, which another process may have started; of this process
        self.resumed_after = 0  # epochs that another process has trained
        method = build_method(spec, _channels(spec), store)
        self.feed = Feed(spec, method.views(), self.device, arrays)
        self.pools_once = spec.freeze == "backbone" and self.feed.shows_labelled_images_alone
        self.world_size, self.rank = collectives.world_size(), collectives.rank()
        if self.world_size > 1:
            method = sync_batch_norm(method)
        self.method: Method = method.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert spec.optimizer is not None, "it trains"
        self.lr = spec.optimizer.lr
        self.optimizer = build_optimizer(spec.optimizer, self.method, self.method.parameter_groups())
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = self.feed.steps
        parameters = [parameter for parameter in self.method.parameters() if parameter.requires_grad]
        graphs = execution.cuda_graphs and self.device.type == "cuda" and self.world_size == 1
        self.graphed = GraphedStep(parameters, partial(self._compute, self.method)) if graphs else None

    @property
    def epochs_done(self) -> int:
        """The number of epochs trained so far, including those before a resume."""
        return len(self.curve)

    @property
    def other_seconds(self) -> float:
        """The seconds that this process has spent on the trial beside its epochs."""
        return time.time() - self.begun - sum(epoch.seconds for epoch in self.curve[self.resumed_after :])

    @property
    def diverged(self) -> bool:
        """Whether the last epoch's loss was not finite."""
        return bool(self.curve) and not math.isfinite(self.curve[-1].loss)

    @property
    def ending(self) -> Ending | None:
        """The divergence or collapse that ends this trial after its last epoch; None if it may go on."""
        if self.diverged:
            return Ending("diverged", f"non-finite loss in epoch {self.epochs_done} of {self.spec.epochs}")
        spread = self.curve[-1].terms.get(SPREAD) if self.curve else None
        least = collapse_below(min(self.spec.batch_size * self.feed.ratio, len(self.feed.unlabelled)))
        if spread is None or not spread < least:
            return None
        return Ending(
            "collapsed", f"spread {spread:.3g} in epoch {self.epochs_done} of {self.spec.epochs}, below {least:.3g}"
        )

    def wrapped(self) -> nn.Module:
        """Return the module whose `forward` is called: the method, wrapped in DDP if there are several ranks."""
        if self.world_size == 1:
            return self.method
        ids = None if self.device.type == "cpu" else [self.device]
        return DistributedDataParallel(self.method, device_ids=ids, broadcast_buffers=False)

    def train_epoch(self, wrapped: nn.Module) -> Epoch:
        """Train one epoch; return its losses, means over all images of all ranks, and append them to the curve."""
        epoch, started = self.epochs_done, time.perf_counter()
        # Draws from torch's global generator (dropout) then depend on the seed and the epoch alone, so a checkpoint at
        # an epoch's end needs no random state.
        torch.manual_seed(derive(self.spec, "augmentation", epoch, self.rank))
        self.method.train()
        if self.pools_once and self.feed.pooled is None:
            self.feed.pooled = self._pooled()
        sums: dict[str, torch.Tensor] = {}
        images = 0
        for batch in self.feed.batches(epoch, self.rank, self.world_size):
            self._set_lr(epoch + batch.step / self.steps)
            losses = self.step(wrapped, self.feed.make_views(batch, epoch), self.step_of(epoch, batch.step))
            seen = {"total": losses.total, **losses.terms, SPREAD: losses.spread, CONFIDENT: losses.confident}
            for name, value in seen.items():
                if value is not None:
                    sums[name] = sums.get(name, 0.0) + value.detach().double() * batch.size
            images += batch.size
        means = {name: float(collectives.mean_over_ranks(value)) / images for name, value in sums.items()}
        result = Epoch(
            epoch=epoch,
            lr=self.lr * lr_factor(self.spec.schedule, epoch, self.spec.epochs),
            loss=means.pop("total"),
            terms=means,
            seconds=time.perf_counter() - started,
        )
        self.curve.append(result)
        return result

    def _pooled(self) -> torch.Tensor:
        """Return the pooled features of D_l under the frozen backbone, [N, width]; each rank computes a share."""
        images, _ = self.feed.labelled_images()
        own = images[self.rank :: self.world_size]
        return collectives.gather(pooled_features(self.method.encoder, own, self.feed.normalise))

    def step_of(self, epoch: int, number: int) -> Step:
        """Return a step of an epoch, numbered over the whole training."""
        return Step(epoch * self.steps + number, self.spec.epochs * self.steps)

    def step(self, wrapped: nn.Module, views: dict[str, View], step: Step) -> Losses:
        """Take one optimizer step, call the method's `after_step`, and return the losses."""
        if self.graphed is not None:
            losses = self.graphed(views, step)  # of one rank, whose method nothing wraps
        else:
            self.optimizer.zero_grad(set_to_none=True)
            losses = self._compute(wrapped, views, step)
        self.optimizer.step()
        self.method.after_step(step, {name: value.detach() for name, value in losses.outputs.items()})
        return losses

    def _compute(self, wrapped: nn.Module, views: Mapping[str, View], step: Step) -> Losses:
        """Return a step's losses, after their backward pass."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16"):
            losses: Losses = wrapped(views, step)
        losses.total.backward()  # type: ignore[no-untyped-call]
        return losses

    def _set_lr(self, position: float) -> None:
        factor = lr_factor(self.spec.schedule, position, self.spec.epochs)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor


def _channels(spec: TrialSpec) -> int:
    assert spec.data.channels is not None, "a trial's data are resolved"
    return spec.data.channels
