"""Sets up the process that trains: its device, its threads, and the seeds of its random streams."""

from dataclasses import dataclass

import numpy as np
import torch

from raysl.training.malloc import keep_freed_memory
from raysl.training.spec import STREAMS, RandomStream, TrialSpec

CUDA_CONTEXT = 600 << 20  # bytes, roughly, that a process needs on a GPU in addition to its tensors


@dataclass(frozen=True)
class Execution:
    """How a trial is executed; nothing here decides its numbers beyond rounding.

    device: `cpu` or `cuda:N`.  threads: of this process.  checkpoint_seconds: least time between two checkpoints.
    milestones: the numbers of epochs after which the model is kept, in addition to the final model.
    cuda_graphs: whether a GPU replays steps as graphs (`graphed_step`).
    """

    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 30.0
    milestones: tuple[int, ...] = ()
    cuda_graphs: bool = True


def device_for(gpus: float) -> str:
    """Return the device of a process with this share of GPUs, and limit the process to its share of the memory.

    With the limit, a trial that needs more memory fails alone, and not its neighbours on the same GPU.
    """
    if not gpus or not torch.cuda.is_available():
        return "cpu"
    device = torch.cuda.current_device()
    torch.cuda.set_per_process_memory_fraction(memory_share(gpus, torch.cuda.mem_get_info(device)[1]), device)
    return f"cuda:{device}"


def memory_share(gpus: float, memory: int) -> float:
    """Return the fraction of a GPU's memory (bytes) that a process with this share of the GPU may fill with tensors."""
    return 1.0 if gpus >= 1 else max(gpus - CUDA_CONTEXT / memory, 0.0)


def prepare_process(spec: TrialSpec, execution: Execution) -> torch.device:
    """Set threads, determinism, memory and the seed of the initialisation in this process."""
    device = torch.device(execution.device)
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    # By default, deterministic torch fills all new memory, in case it is read before it is written; nothing reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.benchmark = device.type == "cuda"
    # By default, torch convolves fp32 on NVIDIA GPUs with 10 bits of mantissa, and multiplies matrices with 23.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = spec.precision == "tf32"
    torch.manual_seed(derive(spec, "init"))
    return device


def derive(spec: TrialSpec, stream: RandomStream, *more: int) -> int:
    """Return the 64-bit seed of a named stream, which differs from those of all other streams."""
    entropy = [spec.stream_seed(stream), STREAMS.index(stream), *more]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
