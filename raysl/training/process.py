"""Sets up the process that trains: its device, its threads, and the seeds of its random streams."""

import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from raysl.errors import ResourcesError
from raysl.results.criteria import CriterionName
from raysl.results.records.seed_design import STREAMS, RandomStream
from raysl.training.malloc import keep_freed_memory
from raysl.training.spec import TrialSpec
from raysl.training.uncompiled import set_deterministic

CUDA_CONTEXT = 600 << 20  # bytes, roughly, that a process needs on a GPU in addition to its tensors
DRIVER = Path("/proc/driver/nvidia/version")
# By CUDA's major version; docs.nvidia.com/deploy/cuda-compatibility, "minor version compatibility".
OLDEST_DRIVERS = {"11": 450, "12": 525, "13": 580}


@dataclass(frozen=True)
class Execution:
    """How a trial is executed; nothing here decides its numbers beyond rounding.

    device: `cpu` or `cuda:N`.  threads: of this process.  checkpoint_seconds: least time between two checkpoints.
    milestones: the numbers of epochs after which the model is kept, in addition to the final model.
    cuda_graphs: whether a GPU replays steps as graphs (`graphed_step`).
    criteria: the label-free criteria that are measured of the trained weights.
    is_node_leaving: says whether this rank's machine is about to be taken away.
    """

    device: str = "cpu"
    threads: int = 1
    checkpoint_seconds: float = 30.0
    milestones: tuple[int, ...] = ()
    cuda_graphs: bool = True
    criteria: tuple[CriterionName, ...] = ()
    is_node_leaving: Callable[[], bool] = lambda: False


def device_for(gpus: float) -> str:
    """Return the device of a process with this share of GPUs, and limit the process to its share of the memory.

    With the limit, a trial that needs more memory fails alone, and not its neighbours on the same GPU.
    Raises ResourcesError, with the driver's version, if PyTorch finds no GPU: a GPU would be paid for and stay unused.
    """
    if not gpus:
        return "cpu"
    if not torch.cuda.is_available():
        raise ResourcesError(_no_gpu(gpus))
    device = torch.cuda.current_device()
    torch.cuda.set_per_process_memory_fraction(memory_share(gpus, torch.cuda.mem_get_info(device)[1]), device)
    return f"cuda:{device}"


def _no_gpu(gpus: float) -> str:
    cuda, driver = torch.version.cuda, driver_version()
    if cuda is None:
        why = f"PyTorch {torch.__version__} is built without CUDA"
    else:
        oldest = OLDEST_DRIVERS.get(cuda.partition(".")[0])
        needs = f"CUDA {cuda} needs {oldest} or newer" if oldest else f"PyTorch has CUDA {cuda}"
        why = f"NVIDIA's driver there is {driver or 'missing'}, and {needs}"
    return (
        f"resources.gpus: {gpus:g}, but PyTorch finds no GPU on {socket.gethostname()}: {why}; give the node another "
        "image, or leave resources.gpus out to train on CPUs"
    )


def driver_version() -> str | None:
    """Return the version of this machine's NVIDIA driver, such as `580.95.05`; None if none is loaded."""
    with suppress(OSError):
        if found := re.search(r"Kernel Module(?: for \S+)?\s+([\d.]+)", DRIVER.read_text(errors="replace")):
            return found[1]
    return None


def memory_share(gpus: float, memory: int) -> float:
    """Return the fraction of a GPU's memory (bytes) that a process with this share of the GPU may fill with tensors."""
    return 1.0 if gpus >= 1 else max(gpus - CUDA_CONTEXT / memory, 0.0)


def prepare_process(spec: TrialSpec, execution: Execution) -> torch.device:
    """Set threads, determinism, memory and the seed of the initialisation in this process."""
    device = torch.device(execution.device)
    torch.set_num_threads(execution.threads)
    set_deterministic(device.type == "cpu")
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
