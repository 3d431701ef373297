"""Training steps on one GPU: precision, CUDA graphs, and several trials at a time.

    uv run python tests/benchmarks/gpu.py [--trials sidae semi ...] [--repetitions 5] [--processes 1 4 8]

It takes one CUDA device, and no Ray; without a device it says so and measures nothing. Trials are those of papers, on
noise, by raysl's own loop. The first table has milliseconds of a step, of its views alone and of all but them, and
images per second, in each precision with steps as CUDA graphs, and in bf16 with kernels launched one by one. From it
comes how long the paper's 200 epochs of SidAE on CIFAR-10 take, less than 6 minutes of which is wanted.

The second table has images per second of several trials of `semi` at a time, of all of them together; 4 times those of
one launched kernel by kernel are wanted. They are measured as the machine is: start NVIDIA's MPS
(`nvidia-cuda-mps-control -d`) before, to see what it adds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from noise_trials import spec_of, write_images

from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

EPOCHS, IMAGES = 200, 50_000  # of SidAE on CIFAR-10
STEPS = 20  # of an epoch that is timed
SECONDS = 4.0  # for which trials at a time are timed
LAUNCHED = "bf16, launched"
VARIANTS = ("fp32", "tf32", "bf16", LAUNCHED)
TOGETHER = "semi"


class Load(NamedTuple):
    """A trial that is measured: a method with a profile of its experiment, and another model and size of images."""

    method: str
    model: str
    stem: str
    size: int
    batch_size: int
    profile: str


LOADS = {
    "sidae": Load("sidae", "resnet18", "imagenet", 32, 512, "cifar10"),
    "sidae, small stem": Load("sidae", "resnet18", "cifar", 32, 512, "cifar10"),
    "simclr": Load("simclr", "resnet18", "cifar", 32, 256, "cifar10"),
    "trimix": Load("trimix", "resnet18", "cifar", 32, 256, "cifar10"),
    "supervised": Load("supervised", "resnet50", "imagenet", 96, 32, "fashion_mnist"),
    TOGETHER: Load("semi", "resnet50", "imagenet", 96, 32, "fashion_mnist"),
    "fixmatch": Load("fixmatch", "resnet18", "cifar", 32, 64, "cifar10"),
}


def spec_for(load: Load, folder: Path) -> TrialSpec:
    """Return a load's trial on images that it writes to a folder."""
    images = write_images(folder, load.size, load.batch_size * STEPS)
    more = {"steps_per_epoch": STEPS} if load.method == "fixmatch" else {}
    spec = spec_of(load.method, load.model, images, load.batch_size, load.profile, more=more)
    model = spec.model.model_copy(update={"stem": load.stem})
    return spec.model_copy(update={"model": model, "data": spec.data.model_copy(update={"image_size": load.size})})


def loop_of(spec: TrialSpec, uri: str, variant: str) -> Loop:
    """Return a trial's loop that has chosen its kernels and recorded its graphs."""
    spec = spec.model_copy(update={"precision": variant[:4]})
    loop = Loop(spec, Store.open(uri, create=False), Execution("cuda:0", cuda_graphs=variant != LAUNCHED))
    for _ in range(2):
        loop.train_epoch(loop.wrapped())
    return loop


def seconds(work: Callable[[], object], repetitions: int) -> float:
    """Return the median seconds of what the device does for `work`."""
    taken = []
    for _ in range(repetitions):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measured(title: str, spec: TrialSpec, uri: str, variant: str, repetitions: int) -> float:
    """Print a line of the first table; return the seconds of a step."""
    loop = loop_of(spec, uri, variant)
    batches = list(loop.feed.batches(0, 0, 1))
    views = loop.feed.make_views(batches[0], 0)
    step, augment, compute = (
        seconds(work, repetitions) / len(batches)
        for work in (
            lambda: loop.train_epoch(loop.wrapped()),
            lambda: [loop.feed.make_views(batch, 0) for batch in batches],
            lambda: [loop.step(loop.method, views, loop.step_of(0, 0)) for _ in batches],
        )
    )
    rate = sum(len(rows) for rows in batches[0].rows.values()) / step
    print(
        f"{title:<20}{variant:<16}{1e3 * step:>8.1f}{1e3 * augment:>8.1f}{1e3 * compute:>8.1f}{rate:>12.0f}", flush=True
    )
    return step


def _train(connection: Any, spec: TrialSpec, uri: str, variant: str) -> None:
    loop = loop_of(spec, uri, variant)
    connection.send(None)
    connection.recv()
    started, epochs = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        loop.train_epoch(loop.wrapped())  # its last line waits for the device
        epochs += 1
    images = epochs * sum(len(rows) for batch in loop.feed.batches(0, 0, 1) for rows in batch.rows.values())
    connection.send(images / (time.perf_counter() - started))


def together(spec: TrialSpec, uri: str, variant: str, processes: int) -> float:
    """Return how many images so many processes, each with a trial of its own, train on together in a second."""
    context = get_context("spawn")
    started = []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_train, args=(theirs, spec, uri, variant))
        process.start()
        theirs.close()  # so that a process that dies ends the wait for it
        started.append((process, ours))
    for _, connection in started:
        connection.recv()
    for _, connection in started:
        connection.send(None)
    rates = [float(connection.recv()) for _, connection in started]
    for process, _ in started:
        process.join()
    print(f"{variant:<16}{processes:>9}{sum(rates):>12.0f}", flush=True)
    return sum(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 4, 8])
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU is here: nothing to measure")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'trial':<20}{'variant':<16}{'step ms':>8}{'views':>8}{'rest':>8}{'images / s':>12}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = Store.open(f"{folder}/results", create=True).uri
        for title in given.trials:
            spec = spec_for(LOADS[title], folder)
            steps = {variant: measured(title, spec, uri, variant, given.repetitions) for variant in VARIANTS}
            if title == "sidae":
                minutes = EPOCHS * (IMAGES // LOADS[title].batch_size) * min(steps.values()) / 60
                print(f"sidae: {EPOCHS} epochs of CIFAR-10 take {minutes:.1f} minutes")
        print(f"\n{TOGETHER + ' at a time':<16}{'processes':>9}{'images / s':>12}")
        spec = spec_for(LOADS[TOGETHER], folder)
        alone = together(spec, uri, LAUNCHED, 1)
        best = max(together(spec, uri, variant, n) for variant in ("bf16", LAUNCHED) for n in given.processes)
    print(f"{TOGETHER}: the best is {best / alone:.1f} x as fast as one trial after another, launched")


if __name__ == "__main__":
    main()
