"""What a training process does with memory changes its speed, and no number."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from raysl import methods
from raysl.launch import ENVIRONMENT
from raysl.results.records.rows import TrialRow
from raysl.results.storage.store import Store
from raysl.training import loop
from raysl.training.malloc import keep_freed_memory
from raysl.training.spec import TrialSpec

TAKE_AND_FREE = """
import resource, threading
from raysl.training.malloc import keep_freed_memory

def take(times):
    for _ in range(times):
        blocks = [bytearray(b"x") * (size << 20) for size in (1, 40, 100)]
        del blocks

def count():
    take(10)  # until blocks have found their places
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    take(5)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

{keep}
{run}
"""
IN_A_THREAD = "thread = threading.Thread(target=count); thread.start(); thread.join()"
TRAINED = [n for n in methods.names() if methods.describe(n).trains and methods.describe(n).level == "image"]
POOLS = "MALLOC_ARENA_MAX"
EVERY_PAGE = 5 * 141 * 256  # of 4 KiB, that would be taken and given back


def faults(keep: str, run: str, **environment: str) -> int:
    code = TAKE_AND_FREE.format(keep=keep, run=run)
    of_process = {key: value for key, value in os.environ.items() if key != POOLS} | environment
    done = subprocess.run([sys.executable, "-c", code], env=of_process, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_what_a_step_frees_is_there_for_the_next_one() -> None:
    assert faults("", "count()") > EVERY_PAGE / 4
    assert faults("keep_freed_memory()", "count()") < EVERY_PAGE / 100
    assert faults("keep_freed_memory()", IN_A_THREAD, **{POOLS: ENVIRONMENT[POOLS]}) < EVERY_PAGE / 100


def small(name: str) -> dict[str, Any]:
    method = {"name": name} | ({"pretext": {"name": "rotation"}} if methods.describe(name).nested else {})
    settings = methods.settings_model(name).model_validate(method).model_dump()
    return settings | {key: 32 for key in ("projector", "hidden", "decoder") if key in settings}


@pytest.mark.parametrize("name", TRAINED)
def test_what_an_optimizer_steps_through_lies_alike_in_memory(
    name: str, make_spec: Callable[..., TrialSpec], store: Store
) -> None:
    """Torch's fused optimizers go through weights, gradients and moments as they lie, whatever their strides say."""
    trained = loop.Loop(make_spec(method=small(name)), store, loop.Execution())
    trained.train_epoch(trained.wrapped())
    stepped = [weight for weight in trained.method.parameters() if weight.grad is not None]
    assert any(not weight.is_contiguous() for weight in stepped)  # channels are last
    for weight in stepped:
        moments = [value for value in trained.optimizer.state[weight].values() if value.ndim]
        assert weight.grad is not None
        assert {tensor.stride() for tensor in (weight.grad, *moments)} == {weight.stride()}


@pytest.mark.parametrize("name", TRAINED)
def test_no_method_reads_memory_that_nobody_has_written(
    name: str,
    make_spec: Callable[..., TrialSpec],
    store: Store,
    train: Callable[..., TrialRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch fills fresh memory with NaN where it is told to: the slow path, whose numbers must be the same."""
    spec = make_spec(method=small(name), epochs=1)
    keep_freed_memory.cache_clear()
    fast = train(spec, store)
    assert keep_freed_memory.cache_info().currsize == 1
    assert not torch.utils.deterministic.fill_uninitialized_memory
    prepare = loop.prepare_process

    def prepare_and_fill(*arguments: Any) -> torch.device:
        device = prepare(*arguments)
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
        assert torch.empty(3).isnan().all()
        return device

    monkeypatch.setattr(loop, "prepare_process", prepare_and_fill)
    slow = train(spec, Store.open(f"{store.uri}-slow", create=True))
    assert [(epoch.loss, epoch.terms) for epoch in slow.curve] == [(epoch.loss, epoch.terms) for epoch in fast.curve]
    assert (slow.status, slow.final_loss, slow.probe) == (
        fast.status,
        fast.final_loss,
        fast.probe,
    )
