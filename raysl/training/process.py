"""The process that trains: its device, its threads, and the seeds of its random streams."""

from dataclasses import dataclass

import numpy as np
import torch

from raysl.training.malloc import keep_freed_memory
from raysl.training.spec import STREAMS, RandomStream, TrialSpec

CUDA_CONTEXT = 600 << 20  # bytes, roughly, that a process takes of a card beside its tensors


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


def derive(spec: TrialSpec, stream: RandomStream, *more: int) -> int:
    """Return the 64-bit seed of a named stream, apart from those of all other streams."""
    entropy = [spec.stream_seed(stream), STREAMS.index(stream), *more]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
