"""Restores torch's global state after a training, for a caller that uses torch itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from raysl.training.uncompiled import set_deterministic


@contextmanager
def kept_torch_state() -> Iterator[None]:
    """Restore torch's threads, determinism, autotuning, rounding on GPUs and random state after this block."""
    threads, tuned = torch.get_num_threads(), torch.backends.cudnn.benchmark
    rounded = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    used = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(used):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            set_deterministic(deterministic, warn_only=warns)
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = tuned
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = rounded
