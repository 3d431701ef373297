"""What preparing a set takes beside an ImageFolder's epoch, and what memory several trials take that share one.

    RAYSL_DATA=... uv run python tests/benchmarks/data.py [--sets fashion_mnist cifar10] [--processes 4]

The first table has the processor's seconds, each in a fresh process, for a set that lies as Parquet in $RAYSL_DATA: to
decode it into arrays, once for a machine; to find them again, checksums included; and to go through its training images
once with torchvision's ImageFolder and a DataLoader, over the same encoded images, one file each.

The second has the memory of trial processes that train at the same time, all of them together: their proportional set
size (each page shared out among those that have it mapped), with a large set, all of which each process has read, and
with a small one. Growth by the model and not by the data means that the two grow alike.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from noise_trials import spec_of, write_images
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from raysl.data.registry.sets import locate
from raysl.data.settings import DataSettings
from raysl.data.storage.decoded_cache import load, prepare
from raysl.data.storage.scan import inspect, resolve
from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

MIB = 1 << 20
BATCH = 256


def _timed(connection: Any, do: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    started = time.process_time()
    do(*arguments)
    connection.send(time.process_time() - started)


def in_fresh_process(do: Callable[..., None], *arguments: Any) -> float:
    """Return the processor's seconds that a function takes, its process's start and imports apart."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_timed, args=(theirs, do, arguments))
    process.start()
    taken = float(ours.recv())
    process.join()
    return taken


def prepare_set(name: str) -> None:
    """Have a set's arrays ready to train on, as a trial does."""
    settings = DataSettings(source=name, labels="all")
    data = resolve(settings, inspect(settings))
    prepare(data)
    load(data)


def write_files(name: str, folder: Path) -> int:
    """Write a set's training images as they are encoded, one file each; return how many."""
    count = 0
    for batch in pq.ParquetFile(locate(name)).iter_batches(columns=["image", "label", "split"]):
        for row in batch.to_pylist():
            if row["split"] == "train":
                place = folder / str(row["label"])
                place.mkdir(exist_ok=True)
                (place / f"{count}.png").write_bytes(row["image"])
                count += 1
    return count


def image_folder_epoch(folder: Path) -> None:
    """Go through a folder of images once."""
    for _ in DataLoader(ImageFolder(str(folder), transforms.ToTensor()), BATCH, shuffle=True):
        pass


def preparing(names: list[str]) -> None:
    """Print the first table."""
    head = f"{'set':<16}{'decode, once':>14}{'find again':>12}{'ImageFolder epoch':>19}"
    print(f"processor's seconds\n{head}{'x decode':>10}{'x find':>9}")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RAYSL_CACHE"] = f"{folder}/cache"
            decoded = in_fresh_process(prepare_set, name)
            again = in_fresh_process(prepare_set, name)
            files = Path(folder, "files")
            files.mkdir()
            write_files(name, files)
            epoch = in_fresh_process(image_folder_epoch, files)
        row = f"{name:<16}{decoded:>14.2f}{again:>12.2f}{epoch:>19.2f}"
        print(f"{row}{epoch / decoded:>10.1f}{epoch / again:>9.0f}", flush=True)


def _trial(connection: Any, spec: TrialSpec, uri: str) -> None:
    loop = Loop(spec, Store.open(uri, create=False), Execution())
    int(loop.feed.arrays.images.sum())  # reads all of them
    loop.train_epoch(loop.wrapped())
    connection.send(loop.feed.arrays.images.nbytes)
    connection.recv()


def proportional_set_size(pid: int) -> int:
    """Return the bytes of memory that a process takes, of shared pages its share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    [size] = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(size) << 10


def memory_of(count: int, spec: TrialSpec, uri: str) -> tuple[list[int], int]:
    """Return what 1, 2, ... trial processes take together, in bytes, and the size of the images that they share."""
    context = get_context("spawn")
    processes, totals, images = [], [], 0
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_trial, args=(theirs, spec, uri))
        process.start()
        processes.append((process, ours))
        images = ours.recv()
        totals.append(sum(proportional_set_size(each.pid) for each, _ in processes if each.pid))
    for process, connection in processes:
        connection.send(None)
        process.join()
    return totals, images


def sharing(name: str, count: int) -> None:
    """Print the second table."""
    print(f"MiB of 1 to {count} trial processes (simclr, small_resnet, batch 64), and what each further one adds")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RAYSL_CACHE"] = f"{folder}/cache"
        store = Store.open(f"{folder}/results", create=True)
        small = spec_of("simclr", "small_resnet", write_images(Path(folder), 32, 128), 64)
        settings = DataSettings(source=name, labels="all", unlabelled=128)
        large = small.model_copy(update={"data": resolve(settings, inspect(settings))})
        for title, spec in ((name, large), ("128 images", small)):
            totals, images = memory_of(count, spec, store.uri)
            added = (totals[-1] - totals[0]) / (count - 1) / MIB
            of_each = "".join(f"{total / MIB:>8.0f}" for total in totals)
            print(f"{title:<16}{of_each}   + {added:.0f} each; the images are {images / MIB:.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["fashion_mnist", "cifar10"])
    parser.add_argument("--processes", type=int, default=4, help="2 or more")
    given = parser.parse_args()
    preparing(given.sets)
    sharing(given.sets[-1], given.processes)


if __name__ == "__main__":
    main()
