"""Real processes in a gloo group, for tests of what ranks must agree on."""

import importlib.util
import inspect
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import set_forkserver_preload
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

# Ranks are forked from a process that has imported this once, has done nothing with it, and has no thread.
set_forkserver_preload(["lightly.loss", "pytest", "raysl.training.trial", "tiny"])


def spawn(function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[Any]:
    """Return what a test file's function returns on each rank: tensors and plain values.

    The function is found by its file, because pytest's own names for test modules mean nothing to a new process.
    """
    file = str(inspect.getsourcefile(function))
    with tempfile.TemporaryDirectory() as folder:
        target = (ranks, folder, file, function.__name__, arguments)
        torch.multiprocessing.start_processes(_child, target, nprocs=ranks, start_method="forkserver")
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(ranks)]


def _child(rank: int, ranks: int, folder: str, file: str, name: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    store = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", store, timedelta(seconds=60), rank=rank, world_size=ranks)
    result = getattr(_load(file), name)(*arguments)
    torch.save(result, Path(folder, f"{rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()


def _load(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("test_on_ranks", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
