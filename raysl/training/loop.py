"""One loop for one process and for DDP."""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from raysl import collectives, methods
from raysl.data.arrays import TrainArrays
from raysl.errors import CheckpointError
from raysl.methods._method import Losses, Method, Step, View
from raysl.models.batch_norm import sync_batch_norm
from raysl.models.encoder import build_encoder, freeze_backbone
from raysl.results.rows import SPREAD, Epoch, Status
from raysl.results.store import Store
from raysl.training import checkpoint
from raysl.training.code import code_of
from raysl.training.features import pooled_features
from raysl.training.feed import Feed
from raysl.training.memory import keep_freed_memory
from raysl.training.model_file import evaluated_encoder, model_state
from raysl.training.optimizers import build_optimizer
from raysl.training.paths import checkpoint_path, model_path
from raysl.training.schedules import lr_factor
from raysl.training.spec import STREAMS, Stream, TrialSpec

COLLAPSED = 0.05  # a mean spread below this is a collapse, in batches of any size
SPREAD_OUT = 0.5  # and one above this is none
CUDA_CONTEXT = 600 << 20  # bytes, roughly, that a process takes of a card beside its tensors


class Ending(NamedTuple):
    """How a trial ended that did not finish, and why."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Execution:
    """How a trial is executed; nothing here decides its numbers beyond rounding.

    device: `cpu` or `cuda:N`.  threads: of this process.  checkpoint_seconds: least time between two checkpoints.
    milestones: after how many epochs the model is kept, beside that of the end.
    """

    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 30.0
    milestones: tuple[int, ...] = ()


def collapse_below(batch_size: int) -> float:
    """Return the mean spread of an epoch below which a siamese method has mapped all images to one point.

    It is COLLAPSED, but for batch normalisation: it centres the embeddings of B images, so that one or two of a
    collapsed batch lie on the far side, which leaves a spread of 2 / sqrt(B). Twice that is a collapse, up to
    SPREAD_OUT: sound training keeps 0.8 and more.
    """
    return max(COLLAPSED, min(SPREAD_OUT, 4 / math.sqrt(batch_size)))


def device_for(gpus: float) -> str:
    """Return the device that a process with this share of GPUs trains on, and keep it to its share of the memory.

    So a trial that needs more fails by itself, and takes none of its neighbours on the card with it.
    """
    if not gpus or not torch.cuda.is_available():
        return "cpu"
    device = torch.cuda.current_device()
    torch.cuda.set_per_process_memory_fraction(memory_share(gpus, torch.cuda.mem_get_info(device)[1]), device)
    return f"cuda:{device}"


def memory_share(gpus: float, memory: int) -> float:
    """Return which fraction of a card's memory (bytes) a process may fill with tensors that has this share of it."""
    return 1.0 if gpus >= 1 else max(gpus - CUDA_CONTEXT / memory, 0.0)


def prepare_process(spec: TrialSpec, execution: Execution) -> torch.device:
    """Set threads, determinism, memory and the seed of the initialisation in this process."""
    device = torch.device(execution.device)
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Determinism would have torch fill all fresh memory, lest anything reads it before it is written: nothing does.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.benchmark = device.type == "cuda"
    torch.manual_seed(derive(spec, "init"))
    return device


def derive(spec: TrialSpec, stream: Stream, *more: int) -> int:
    """Return the 64-bit seed of a named stream, apart from those of all other streams."""
    entropy = [spec.stream_seed(stream), STREAMS.index(stream), *more]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def build_method(spec: TrialSpec, channels: int, store: Store) -> Method:
    """Build a trial's method, its encoder taken over from what is evaluated of the trial that it starts from."""
    assert spec.data.image_size is not None, "a trial's data are resolved"
    encoder = build_encoder(spec.model, channels, spec.data.image_size)
    if spec.start is not None:
        start = checkpoint.load(store, model_path(spec.start, spec.start_epoch))
        encoder.load_state_dict(evaluated_encoder(start))
    method = methods.build(spec.method, encoder, spec.data.num_classes)
    if spec.freeze == "backbone":
        freeze_backbone(method)
    return method


def loaded_method(spec: TrialSpec, channels: int, store: Store, trial_id: str) -> Method:
    """Build a trial's method with the weights of a model: its own, or that of a trial with the same weights.

    Raises CheckpointError where the model is damaged.
    """
    method = build_method(spec.model_copy(update={"start": None}), channels, store)
    method.load_state_dict(checkpoint.load(store, model_path(trial_id))["method"])
    return method


class Loop:
    """A trial's training on this rank: what is trained, how far it is, and its curve.

    arrays: of its images, where they are not those that its data name.
    """

    def __init__(self, spec: TrialSpec, store: Store, execution: Execution, arrays: TrainArrays | None = None) -> None:
        self.spec, self.store, self.execution = spec, store, execution
        self.code = code_of(spec, store)
        self.device = prepare_process(spec, execution)
        self.curve: list[Epoch] = []
        self.started = time.time()
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

    @property
    def epochs_done(self) -> int:
        """Epochs trained so far, those before a resume included."""
        return len(self.curve)

    @property
    def diverged(self) -> bool:
        """Whether the last epoch's loss was not finite."""
        return bool(self.curve) and not math.isfinite(self.curve[-1].loss)

    @property
    def ending(self) -> Ending | None:
        """What ends this trial after the last epoch; None where it may go on."""
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
        """Return what `forward` is called on: DDP over several ranks."""
        if self.world_size == 1:
            return self.method
        ids = None if self.device.type == "cpu" else [self.device]
        return DistributedDataParallel(self.method, device_ids=ids, broadcast_buffers=False)

    def train_epoch(self, wrapped: nn.Module) -> Epoch:
        """Train one epoch and append its losses, means over all images of all ranks, to the curve."""
        epoch, started = self.epochs_done, time.perf_counter()
        # Whatever draws from torch's global generator (dropout) then depends on the seed and the epoch alone,
        # so a checkpoint at an epoch's end needs no random state.
        torch.manual_seed(derive(self.spec, "augmentation", epoch, self.rank))
        self.method.train()
        if self.pools_once and self.feed.pooled is None:
            self.feed.pooled = self._pooled()
        sums: dict[str, torch.Tensor] = {}
        images = 0
        for batch in self.feed.batches(epoch, self.rank, self.world_size):
            self._set_lr(epoch + batch.step / self.steps)
            losses = self.step(wrapped, self.feed.make_views(batch, epoch), self.step_of(epoch, batch.step))
            spread = {} if losses.spread is None else {SPREAD: losses.spread}
            for name, value in {"total": losses.total, **losses.terms, **spread}.items():
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
        """Return what the frozen backbone makes of D_l, [N, width]: each rank computes its share."""
        images, _ = self.feed.labelled_images()
        own = images[self.rank :: self.world_size]
        return collectives.gather(pooled_features(self.method.encoder, own, self.feed.normalise))

    def step_of(self, epoch: int, number: int) -> Step:
        """Return which step of the training an epoch's step is."""
        return Step(epoch * self.steps + number, self.spec.epochs * self.steps)

    def step(self, wrapped: nn.Module, views: dict[str, View], step: Step) -> Losses:
        """Take one optimizer step, and what the method makes follow it."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16"):
            losses: Losses = wrapped(views, step)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.method.after_step(step, {name: value.detach() for name, value in losses.outputs.items()})
        return losses

    def _set_lr(self, position: float) -> None:
        factor = lr_factor(self.spec.schedule, position, self.spec.epochs)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor

    def save_model(self, epoch: int | None = None) -> None:
        """Write this trial's model: that of its end, or of a milestone."""
        checkpoint.save(self.store, model_path(self.spec.id, epoch), model_state(self.spec.id, self.method))

    def save(self) -> None:
        """Write this trial's checkpoint."""
        state = {
            "id": self.spec.id,
            "started": self.started,
            "code": self.code.digest,
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": [[e.epoch, e.lr, e.loss, dict(e.terms), e.seconds] for e in self.curve],
        }
        checkpoint.save(self.store, checkpoint_path(self.spec.id), state)

    def resume(self) -> None:
        """Take up the last checkpoint.

        Raises CheckpointError where it is damaged, does not fit, or is of other code; the loop is of no use then.
        """
        path = checkpoint_path(self.spec.id)
        state = checkpoint.load(self.store, path)
        if state.get("code", self.code.digest) != self.code.digest:
            raise CheckpointError(f"{self.store.address(path)}: written by other code")
        try:
            self.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.curve = [Epoch(*entry) for entry in state["curve"]]
            self.started = float(state["started"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:  # of a version that had other parameters
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{self.store.address(path)}: does not fit this trial: {reason}") from None


def _channels(spec: TrialSpec) -> int:
    assert spec.data.channels is not None, "a trial's data are resolved"
    return spec.data.channels
