"""A trial's device, and its share of a card's memory."""

import re
from pathlib import Path

import pytest
import torch

from raysl.errors import ResourcesError
from raysl.training import process
from raysl.training.process import CUDA_CONTEXT, OLDEST_DRIVERS, device_for, driver_version, memory_share

GIB = 1 << 30


def test_trials_that_share_a_card_fit_on_it_with_what_each_process_takes() -> None:
    for gpus, processes in ((0.5, 2), (0.25, 4), (0.1, 10)):
        for memory in (16 * GIB, 141 * GIB):
            share = memory_share(gpus, memory)
            assert share > 0
            assert processes * (share * memory + CUDA_CONTEXT) <= memory * (1 + 1e-9)


def test_whole_cards_are_whole() -> None:
    assert memory_share(1.0, 16 * GIB) == memory_share(2.0, 16 * GIB) == 1.0


def test_a_share_that_is_too_small_for_anything_is_none() -> None:
    assert memory_share(0.01, 16 * GIB) == 0.0


def test_without_gpus_a_trial_is_on_the_cpu() -> None:
    assert device_for(0.0) == "cpu"


VERSIONS = {  # of /proc/driver/nvidia/version
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31\nGCC version: 12.3.0\n": "550.90.07",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder)\n": "580.95.05",
    "": None,
}


@pytest.mark.parametrize(("text", "version"), VERSIONS.items())
def test_the_driver_is_read(text: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "DRIVER", tmp_path / "version")
    assert driver_version() is None
    (tmp_path / "version").write_text(text)
    assert driver_version() == version


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(("text", "version"), VERSIONS.items())
def test_a_gpu_that_cannot_be_used_is_refused_with_the_driver(
    text: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "DRIVER", tmp_path / "version")
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    with pytest.raises(ResourcesError, match=re.escape("resources.gpus: 0.5")) as refused:
        device_for(0.5)
    assert f"driver there is {version or 'missing'}, and CUDA 13.2 needs 580 or newer" in str(refused.value)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ResourcesError, match="built without CUDA"):
        device_for(1.0)


@pytest.mark.skipif(torch.version.cuda is None, reason="this PyTorch has no CUDA")
def test_the_oldest_driver_of_this_cuda_is_known() -> None:
    assert str(torch.version.cuda).partition(".")[0] in OLDEST_DRIVERS


@pytest.mark.gpu
def test_a_trial_cannot_take_more_than_its_share() -> None:
    device = torch.device(device_for(0.25))
    memory = torch.cuda.mem_get_info(device)[1]
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(memory // 4, dtype=torch.uint8, device=device)
    torch.empty(memory // 8, dtype=torch.uint8, device=device)
    torch.cuda.set_per_process_memory_fraction(1.0, device)
