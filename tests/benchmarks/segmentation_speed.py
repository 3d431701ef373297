"""Training steps of supervised segmentation beside torchvision's reference training, and their memory.

    uv run python tests/benchmarks/segmentation_speed.py [--size 128] [--batch 8] [--steps 4] [--repetitions 5]
        [--models small_resnet efficientnet_lite0] [--output-stride 16]

Prints images per second of one thread: by raysl's own loop, and by a plain loop with torchvision's v2 transforms of PIL
images and masks (random resize by 0.5 to 1.5, crop, flip; as references/segmentation has it) in a DataLoader of 2
workers, whose time is not counted.  Both have the same model, batch, loss and optimizer.  Medians of runs that take
turns; then the largest resident memory of raysl's process.  Not slower is wanted, and less than 4 GB.  Images are
noise.
"""

import argparse
import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import tv_tensors
from torchvision.transforms import v2

from raysl.config import load
from raysl.data.storage.images import encode
from raysl.data.storage.parquet import Row, write
from raysl.data.storage.scan import inspect, resolve
from raysl.results.confusion import IGNORED
from raysl.results.storage.store import Store
from raysl.search.trials import expand
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.process import Execution
from raysl.training.spec import TrialSpec

NUM_CLASSES, IMAGES, WORKERS = 11, 32, 2
EXPERIMENT = """\
name: speed
data: {{source: "parquet:{path}", labels: all}}
model: {{backbone: {model}, features: null}}
seeds: 1
stages:
  segmentation:
    method: {{name: segmentation, width: 64, output_stride: {stride}}}
    epochs: 1000
    steps_per_epoch: {steps}
    batch_size: {batch}
    optimizer: {{name: adam, lr: 1e-4}}
    probe: segmentation
"""


def spec_of(folder: Path, model: str, given: argparse.Namespace) -> TrialSpec:
    """Write images of noise with masks, and return a trial on them."""
    path, draw = folder / "noise.parquet", np.random.default_rng(0)
    edge = given.size
    if not path.exists():
        made = (
            (draw.integers(256, size=(edge, edge, 3), dtype=np.uint8), draw.integers(NUM_CLASSES, size=(edge, edge)))
            for _ in range(IMAGES)
        )
        rows = (
            Row(encode(image), 0, "train" if number else "test", mask=encode(mask.astype(np.uint8)))
            for number, (image, mask) in enumerate(made)
        )
        write(path, rows, [str(number) for number in range(NUM_CLASSES)], "noise", "none", with_masks=True)
    file = folder / "speed.yaml"
    numbers = {"stride": given.output_stride, "steps": given.steps, "batch": given.batch}
    file.write_text(EXPERIMENT.format(path=path, model=model, **numbers))
    experiment = load(file)
    data = resolve(experiment.data, inspect(experiment.data))
    return expand(experiment, experiment.stages[0], {"segmentation": data}, {})[0].spec


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Images and masks as PIL images in memory, transformed one by one."""

    def __init__(self, feed: Feed, size: int) -> None:
        assert feed.arrays.masks is not None, "its images have masks"
        images, masks = feed.arrays.images[feed.labelled], feed.arrays.masks.classes[feed.labelled]
        self.pairs = [(Image.fromarray(image), mask.copy()) for image, mask in zip(images, masks, strict=True)]
        self.transforms = v2.Compose(
            [
                v2.RandomResize(size // 2, size * 3 // 2),
                v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Mask: IGNORED, "others": 0}),
                v2.RandomHorizontalFlip(0.5),
                v2.ToImage(),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
                v2.Normalize(feed.normalise.mean.flatten().tolist(), feed.normalise.std.flatten().tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image, mask = self.pairs[place]
        seen, classes = self.transforms(image, tv_tensors.Mask(mask))
        return seen, classes


def plain_epochs(spec: TrialSpec, store: Store) -> Callable[[], object]:
    """Return what trains an epoch as torchvision's reference does."""
    method = build_method(spec, 3, store)
    feed = Feed(spec, method.views(), torch.device("cpu"))
    assert spec.steps_per_epoch is not None
    assert spec.data.image_size is not None
    pairs = Pairs(feed, spec.data.image_size)
    sampler = RandomSampler(pairs, replacement=True, num_samples=10**9)
    batches: Iterator[Any] = iter(DataLoader(pairs, spec.batch_size, sampler=sampler, num_workers=WORKERS))
    head = [id(parameter) for parameter in method.evaluation().classifier.parameters()]  # type: ignore[union-attr]
    groups = [
        {"params": [p for p in method.parameters() if id(p) not in head]},
        {"params": [p for p in method.parameters() if id(p) in head], "lr": 1e-3},
    ]
    optimizer = torch.optim.Adam(groups, lr=1e-4)
    criterion = torch.nn.CrossEntropyLoss(ignore_index=IGNORED)
    method.train()

    def epoch() -> None:
        for images, classes in itertools.islice(batches, spec.steps_per_epoch):
            optimizer.zero_grad()
            encoder, classifier = method.evaluation()
            logits = classifier(encoder.maps(images))  # type: ignore[misc]
            logits = torch.nn.functional.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)
            criterion(logits, classes).backward()
            optimizer.step()

    return epoch


def _serve(name: str, spec: TrialSpec, uri: str, connection: Any) -> None:
    store = Store.open(uri, create=False)
    torch.set_num_threads(1)
    if name == "raysl":
        loop = Loop(spec, store, Execution(threads=1))
        wrapped = loop.wrapped()
        epoch: Callable[[], object] = lambda: loop.train_epoch(wrapped)  # noqa: E731
    else:
        epoch = plain_epochs(spec, store)
    while connection.recv():
        started = time.process_time()
        epoch()
        connection.send((time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["small_resnet", "efficientnet_lite0"])
    parser.add_argument("--size", type=int, default=128, help="pixels of an edge")
    parser.add_argument("--output-stride", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4, help="of each epoch that is timed")
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    print(f"{'model':<20}{'raysl':>10}{'torchvision':>13}{'x':>8}{'raysl MB':>10}")
    with tempfile.TemporaryDirectory() as name:
        uri = Store.open(f"{name}/results", create=True).uri
        for model in given.models:
            spec = spec_of(Path(name), model, given)
            started = {}
            for pipeline in ("raysl", "torchvision"):
                ours, theirs = get_context("spawn").Pipe()
                process = get_context("spawn").Process(target=_serve, args=(pipeline, spec, uri, theirs))
                process.start()
                theirs.close()  # so that a process that dies ends the wait for it
                started[pipeline] = process, ours
            taken: dict[str, list[tuple[float, int]]] = {pipeline: [] for pipeline in started}
            for _, (pipeline, (_, connection)) in itertools.product(range(given.repetitions + 1), started.items()):
                connection.send(True)
                taken[pipeline].append(connection.recv())
            for process, connection in started.values():
                connection.send(False)
                process.join()
            count = given.steps * given.batch
            own, other = (count / statistics.median(one[0] for one in taken[p][1:]) for p in started)
            memory = taken["raysl"][-1][1] / 1024
            print(f"{model:<20}{own:>10.1f}{other:>13.1f}{own / other:>8.2f}{memory:>10.0f}", flush=True)


if __name__ == "__main__":
    main()
