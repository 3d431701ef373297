"""The cost of RandAugment with cutout beside PIL's, and training steps of FixMatch and BYOL beside a plain loop.

    uv run python tests/benchmarks/consistency_speed.py [--methods fixmatch byol] [--sizes 32 96]
        [--models small_resnet efficientnet_lite0] [--images 448] [--steps 2] [--repetitions 5] [--threads 1]

The first table has microseconds of one thread for an image, from a decoded one to a float tensor: by raysl on a batch,
and by PIL's 14 operations one image after the other. PIL's 5 times as much is wanted.

The second has images per second of training, labelled and unlabelled ones together: by raysl's own loop, and by a plain
one with torchvision's transforms in DataLoaders of 2 workers for each stream (`peers.py`). Both have the model, batch,
loss and optimizer of the method's experiment; FixMatch has 64 labelled images and 7 times as many others, BYOL 64. Time
is that of the clock, and the workers are not counted among the threads. 1.5 times as fast at 32 pixels is wanted, and
nowhere slower. Both tables have medians of runs that take turns. Images are noise.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from noise_trials import CHANNELS, spec_of, write_images
from peers import Peer
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from raysl.data.augment.operations import NAMES, RANGES
from raysl.data.augment.randaugment import NUM_OPERATIONS, randaugment
from raysl.data.augment.views import Draw
from raysl.results.storage.store import Store
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed, Normaliser
from raysl.training.loop import Loop
from raysl.training.malloc import keep_freed_memory
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

BATCH_SIZE, RATIO, WORKERS = 64, 7, 2
BATCHES = 5  # of a turn
GRAY = (127, 127, 127)
PIPELINES = ("raysl", "torchvision")


def _affine(image: Image.Image, *coefficients: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, coefficients, fillcolor=GRAY)


PIL_OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "auto_contrast": lambda image, value: ImageOps.autocontrast(image),
    "brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "colour": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "equalise": lambda image, value: ImageOps.equalize(image),
    "identity": lambda image, value: image,
    "posterise": lambda image, value: ImageOps.posterize(image, int(value)),
    "sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
    "solarise": lambda image, value: ImageOps.solarize(image, int(255 * value)),
    "rotate": lambda image, value: image.rotate(value, fillcolor=GRAY),
    "shear_x": lambda image, value: _affine(image, 1, value, 0, 0, 1, 0),
    "shear_y": lambda image, value: _affine(image, 1, 0, 0, value, 1, 0),
    "translate_x": lambda image, value: _affine(image, 1, 0, -value * image.width, 0, 1, 0),
    "translate_y": lambda image, value: _affine(image, 1, 0, 0, 0, 1, -value * image.height),
}


def by_pil(pixels: np.ndarray) -> Tensor:
    """Augment one image, uint8 [S, S, 3]; its square is not clipped at the top and at the left."""
    image = Image.fromarray(pixels)
    for name in random.choices(NAMES, k=NUM_OPERATIONS):
        image = PIL_OPERATIONS[name](image, random.uniform(*RANGES[name]))
    edge = len(pixels) // 2
    left, top = (random.randrange(-edge // 2, edge * 3 // 2) for _ in range(2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, left + edge - 1, top + edge - 1), GRAY)
    made: Tensor = to_tensor(image)
    return made


def views_table(sizes: list[int], count: int, repetitions: int) -> None:
    """Print what RandAugment and cutout cost."""
    torch.set_num_threads(1)
    keep_freed_memory()
    to_float = Normaliser.given([0.0] * CHANNELS, [1.0] * CHANNELS, torch.device("cpu")).to_float
    print(f"microseconds for RandAugment and cutout of an image\n{'size':>4}{'raysl':>12}{'PIL':>12}{'x PIL':>12}")
    for size in sizes:
        pixels = np.random.default_rng(0).integers(256, size=(count, size, size, CHANNELS), dtype=np.uint8)
        runs: dict[str, Callable[[np.ndarray, int], object]] = {
            "raysl": lambda pixels, step: randaugment(
                to_float(pixels), Draw(0, 0, step, "view", np.arange(len(pixels)), len(pixels)), cut=True
            ),
            "PIL": lambda pixels, step: torch.stack([by_pil(image) for image in pixels]),
        }
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for turn, (name, run) in itertools.product(range(repetitions + 1), runs.items()):
            started = time.process_time()
            for step in range(BATCHES):
                run(pixels, turn * BATCHES + step)
            taken[name].append((time.process_time() - started) / BATCHES)
        ours, theirs = (1e6 * statistics.median(taken[name][1:]) / count for name in runs)
        print(f"{size:>4}{ours:>12.1f}{theirs:>12.1f}{theirs / ours:>12.2f}", flush=True)


def _serve(name: str, spec: TrialSpec, uri: str, threads: int, connection: Any) -> None:
    """Tell the seconds of an epoch whenever it is asked for them."""
    store = Store.open(uri, create=False)
    torch.set_num_threads(threads)
    if name == "raysl":
        loop = Loop(spec, store, Execution(threads=threads))
        wrapped = loop.wrapped()
        epoch: Callable[[], object] = lambda: loop.train_epoch(wrapped)  # noqa: E731
    else:
        method = build_method(spec, CHANNELS, store)
        epoch = Peer(name, method, Feed(spec, method.views(), torch.device("cpu")), WORKERS).train_epoch
    while connection.recv():
        started = time.perf_counter()
        epoch()
        connection.send(time.perf_counter() - started)


def medians(spec: TrialSpec, uri: str, threads: int, repetitions: int) -> dict[str, float]:
    """Return the median seconds of an epoch by each pipeline, after one that does not count."""
    context, started = get_context("spawn"), {}
    for name in PIPELINES:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(name, spec, uri, threads, theirs))
        process.start()
        theirs.close()  # so that a process that dies ends the wait for it
        started[name] = process, ours
    taken: dict[str, list[float]] = {name: [] for name in PIPELINES}
    for _, (name, (_, connection)) in itertools.product(range(repetitions + 1), started.items()):
        connection.send(True)
        taken[name].append(connection.recv())
    for process, connection in started.values():
        connection.send(False)
        process.join()
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}


def steps_table(given: argparse.Namespace) -> None:
    """Print how many images each pipeline trains on."""
    head = f"{'method':<12}{'model':<20}{'size':>4}{'raysl':>12}{'torchvision':>12}{'x':>12}"
    print(f"images per second of training, and raysl's as a multiple\n{head}")
    with tempfile.TemporaryDirectory() as name:
        uri = Store.open(f"{name}/results", create=True).uri
        for size, model, method in itertools.product(given.sizes, given.models, given.methods):
            learner = method != "byol"
            batch = BATCH_SIZE * (1 + RATIO if learner else 1)
            images = write_images(Path(name), size, batch * given.steps)
            more = {"steps_per_epoch": given.steps} | ({"unlabelled_ratio": RATIO} if learner else {})
            taken = medians(
                spec_of(method, model, images, BATCH_SIZE, more=more), uri, given.threads, given.repetitions
            )
            ours, theirs = (batch * given.steps / taken[pipeline] for pipeline in PIPELINES)
            print(f"{method:<12}{model:<20}{size:>4}{ours:>12.0f}{theirs:>12.0f}{ours / theirs:>12.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="*", choices=["fixmatch", "byol"], default=["fixmatch", "byol"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 96], help="of the images, in pixels")
    models = ["small_resnet", "efficientnet_lite0"]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--images", type=int, default=BATCH_SIZE * RATIO, help="of the batch that is augmented")
    parser.add_argument("--steps", type=int, default=2, help="of each epoch that is timed")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of a process that trains")
    given = parser.parse_args()
    views_table(given.sizes, given.images, given.repetitions)
    if given.methods:
        steps_table(given)


if __name__ == "__main__":
    main()
