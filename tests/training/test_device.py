"""A trial's device, and its share of a card's memory."""

import pytest
import torch

from raysl.training.process import CUDA_CONTEXT, device_for, memory_share

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


@pytest.mark.gpu
def test_a_trial_cannot_take_more_than_its_share() -> None:
    device = torch.device(device_for(0.25))
    memory = torch.cuda.mem_get_info(device)[1]
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(memory // 4, dtype=torch.uint8, device=device)
    torch.empty(memory // 8, dtype=torch.uint8, device=device)
    torch.cuda.set_per_process_memory_fraction(1.0, device)
