"""Transfers of what was drawn on the CPU to the device of the images."""

import torch
from torch import Tensor


def on_device(values: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return values of the CPU on a device, without waiting for it.

    CUDA first waits for all that a GPU has to do when it copies from memory that the system may page out, so values
    are copied to page-locked memory before.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, dtype or values.dtype, non_blocking=True)
