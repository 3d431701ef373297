"""Samples per second of each method's training, beside a torchvision and a lightly pipeline, and the cost of views.

    uv run python tests/benchmarks/training_steps.py [--methods simclr semi ...] [--sizes 32 96]
        [--models small_resnet resnet18] [--batch-size 64] [--steps 2] [--repetitions 5] [--precision fp32|bf16]

Each method trains on a CPU with one thread: by raysl's own loop, by a plain loop with torchvision's transforms, and by
one with lightly's transforms and losses (`peers.py`). All three have the model, the batch, the optimizer and the views
of the method's experiment in `search_spaces/`; each has a process of its own. Epochs of a few steps take turns, and the
processor's time counts, so that what else the machine does weighs on all of them alike, and little. The table has
medians of images per second, and how many times as fast raysl is, of which 1.5 is wanted, and 1 everywhere. Lightly
stands in it where a method's views are distortions, with its own loss where it has one (simclr, barlow_twins, vicreg,
byol, simsiam).

The second table has what the views of one image cost, without any training; 10 times less than per-image pipelines is
wanted. Images are noise: none of what is timed depends on their content.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from noise_trials import CHANNELS, spec_of, write_images
from peers import Peer, distortion

from raysl import methods
from raysl.results.storage.store import Store
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

METHODS = [name for name in methods.names() if methods.describe(name).trains]
PIPELINES = ("raysl", "torchvision", "lightly")


class Pipeline:
    """A process that trains by one pipeline: what raysl sets in its own (threads, memory) is none of a peer's."""

    def __init__(self, name: str, store: Store) -> None:
        self._end, other = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(target=_serve, args=(name, store.uri, other), daemon=True)
        self._process.start()

    def build(self, spec: TrialSpec) -> bool:
        """Have it build what a trial trains; return whether it can."""
        self._end.send(spec)
        return bool(self._end.recv())

    def seconds(self, what: str) -> float:
        """Return the processor's seconds for an epoch: to `train` it, or to make its `views` alone."""
        self._end.send(what)
        return float(self._end.recv())

    def end(self) -> None:
        self._end.send(None)
        self._process.join()


def _serve(name: str, uri: str, connection: Any) -> None:
    torch.set_num_threads(1)
    store = Store.open(uri, create=False)
    epochs: dict[str, Callable[[], object]] = {}
    for asked in iter(connection.recv, None):
        if isinstance(asked, TrialSpec):
            epochs = _epochs(name, asked, store)
            connection.send(bool(epochs))
        else:
            started = time.process_time()
            epochs[asked]()
            connection.send(time.process_time() - started)


def _epochs(name: str, spec: TrialSpec, store: Store) -> dict[str, Callable[[], object]]:
    """Return what trains an epoch and what makes an epoch's views; neither where there is nothing for a peer to do."""
    if name == "raysl":
        loop = Loop(spec, store, Execution())
        wrapped = loop.wrapped()

        def views() -> None:
            for batch in loop.feed.batches(0, 0, 1):
                loop.feed.make_views(batch, 0)

        return {"train": lambda: loop.train_epoch(wrapped), "views": views}
    method = build_method(spec, CHANNELS, store)
    if name == "lightly" and not any(distortion(view) for view in method.views().values()):
        return {}
    peer = Peer(name, method, Feed(spec, method.views(), torch.device("cpu")))
    return {"train": peer.train_epoch, "views": lambda: deque(peer.batches(), maxlen=0)}


def medians(pipelines: dict[str, Pipeline], what: str, repetitions: int) -> dict[str, float]:
    """Return the median seconds of each, taking turns, after one turn that does not count."""
    taken = [{name: pipeline.seconds(what) for name, pipeline in pipelines.items()} for _ in range(repetitions + 1)]
    return {name: statistics.median(each[name] for each in taken[1:]) for name in pipelines}


def line(taken: dict[str, float], value: Callable[[float], float]) -> str:
    """Return the columns of a table's line: each pipeline's value, and how many times as fast as a peer raysl is.

    taken: seconds of each pipeline.  value: of these seconds.
    """
    columns = [f"{value(taken[name]):>12.0f}" if name in taken else f"{'-':>12}" for name in PIPELINES]
    for name in PIPELINES[1:]:
        columns.append(f"{taken[name] / taken['raysl']:>14.2f}" if name in taken else f"{'-':>14}")
    return "".join(columns)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 96], help="of the images, in pixels")
    parser.add_argument("--models", nargs="+", choices=["small_resnet", "resnet18"], default=["small_resnet"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2, help="of each epoch that is timed")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="raysl's; that of peers is fp32")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    count = given.batch_size * given.steps
    head = f"{'method':<24}{'model':<14}{'size':>4}" + "".join(f"{name:>12}" for name in PIPELINES)
    head += "".join(f"{'x ' + name:>14}" for name in PIPELINES[1:])
    print(f"images per second, and raysl's as a multiple\n{head}")
    of_views = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"{folder}/results", create=True)
        all_pipelines = {name: Pipeline(name, store) for name in PIPELINES}
        for size, model, method in itertools.product(given.sizes, given.models, given.methods):
            images = write_images(Path(folder), size, count)
            spec = spec_of(method, model, images, given.batch_size, precision=given.precision)
            pipelines = {name: pipeline for name, pipeline in all_pipelines.items() if pipeline.build(spec)}
            title = f"{method:<24}{model:<14}{size:>4}"
            print(title + line(medians(pipelines, "train", given.repetitions), lambda took: count / took), flush=True)
            if model == given.models[0]:
                taken = medians(pipelines, "views", given.repetitions)
                of_views.append(title + line(taken, lambda took: 1e6 * took / count))
        for pipeline in all_pipelines.values():
            pipeline.end()
    print(f"microseconds for the views of an image, without training, and a peer's as a multiple\n{head}")
    print("\n".join(of_views))


if __name__ == "__main__":
    main()
