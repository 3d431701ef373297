"""Training steps on one GPU: precision, memory format, compilation, and several trials at a time.

    uv run python tests/benchmarks/gpu.py [--steps 40] [--repetitions 5] [--processes 1 2 4 8]

It takes one CUDA device, and no Ray; without a device it says so and measures nothing. The trials are those that are
launch-bound, steps of 32 images of `rotation_semi` with a ResNet-50 at 96 pixels, and those that are not, SidAE with a
ResNet-18 at 32 pixels and batches of 512; on noise, by raysl's own loop. A table has images per second, of all
processes together: as raysl trains (fp32 and bf16, channels last), and what torch.compile and CUDA graphs, which raysl
does not use, would add. From these come how long the paper's 200 epochs of SidAE on CIFAR-10 take, less than 6 minutes
of which is wanted, and how many times as fast several trials at a time are as one after another, of which 4 is wanted.
"""

import argparse
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from noise_trials import spec_of, write_images

from raysl.results.storage.store import Store
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

EPOCHS, IMAGES = 200, 50_000  # of SidAE on CIFAR-10
VARIANTS = ("fp32", "bf16", "bf16, contiguous", "bf16, compiled", "bf16, CUDA graphs")
PLAIN = VARIANTS[:2]  # what raysl does
MODES = {"bf16, compiled": "default", "bf16, CUDA graphs": "reduce-overhead"}


def _train(connection: Any, spec: TrialSpec, uri: str, variant: str, repetitions: int) -> None:
    """Tell the seconds of epochs that begin when it is asked for them."""
    loop = Loop(spec, Store.open(uri, create=False), Execution("cuda:0"))
    if variant == "bf16, contiguous":
        loop.method.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    wrapped = torch.compile(loop.method, mode=MODES[variant]) if variant in MODES else loop.method
    for _ in range(3):  # compiles, chooses kernels, records graphs
        loop.train_epoch(wrapped)
    connection.send(len(loop.feed.unlabelled))
    connection.recv()
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        loop.train_epoch(wrapped)  # its last line waits for the device
        seconds.append(time.perf_counter() - started)
    connection.send(statistics.median(seconds))


def images_per_second(spec: TrialSpec, uri: str, variant: str, repetitions: int, processes: int = 1) -> float:
    """Return how many images so many processes, each with a trial of its own, train on together."""
    context = get_context("spawn")
    spec = spec.model_copy(update={"precision": variant[:4]})
    started = []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_train, args=(theirs, spec, uri, variant, repetitions))
        process.start()
        theirs.close()  # so that a process that dies ends the wait for it
        started.append((process, ours))
    images = [connection.recv() for _, connection in started]
    for _, connection in started:
        connection.send(None)
    seconds = [connection.recv() for _, connection in started]
    for process, _ in started:
        process.join()
    return sum(count / taken for count, taken in zip(images, seconds, strict=True))


def measured(title: str, spec: TrialSpec, uri: str, variant: str, repetitions: int, processes: int = 1) -> float:
    """Measure and print one line; 0 where it fails."""
    line = f"{title:<16}{variant:<20}{processes:>9}"
    try:
        rate = images_per_second(spec, uri, variant, repetitions, processes)
    except EOFError:
        print(f"{line}      fails, as is said above", flush=True)
        return 0.0
    print(f"{line}{rate:>17.0f}", flush=True)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="of each epoch that is timed")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4, 8], help="numbers; 1 comes first")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU is here: nothing to measure")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"{'trial':<16}{'variant':<20}{'processes':>9}{'images / second':>17}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = Store.open(f"{folder}/results", create=True).uri
        of_semi = write_images(folder, 96, 32 * given.steps)
        semi = spec_of("semi", "resnet50", of_semi, 32, profile="fashion_mnist")
        for variant in VARIANTS:
            measured("rotation_semi", semi, uri, variant, given.repetitions)
        together = [measured("rotation_semi", semi, uri, "bf16", given.repetitions, n) for n in given.processes]
        of_sidae = write_images(folder, 32, 512 * given.steps)
        sidae = spec_of("sidae", "resnet18", of_sidae, 512, profile="cifar10")
        rates = {variant: measured("sidae", sidae, uri, variant, given.repetitions) for variant in VARIANTS}
    if together[0]:
        gain = max(together) / together[0]
        print(f"rotation_semi: the best number of trials at a time is {gain:.1f} x as fast as one after another")
    if best := max(rates[variant] for variant in PLAIN):
        print(f"sidae: {EPOCHS} epochs of CIFAR-10 take {EPOCHS * IMAGES / best / 60:.1f} minutes")


if __name__ == "__main__":
    main()
