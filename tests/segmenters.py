"""Methods that learn masks in small, and what they are made of in numpy."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysl.data.augment.views import Draw
from raysl.methods._method import Losses, Method, Step, View
from raysl.methods._segmenter import pixel_logits
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings
from raysl.results.confusion import IGNORED

NUM_CLASSES, EDGE = 3, 16
Floats = NDArray[np.float64]


def segmenter(kind: type[Method], **hyperparameters: Any) -> Any:
    """Return a method of a kind in fp64, around an encoder of 16 x 16 gray images, with maps of 4 x 4.

    Its head's last layer is scaled up, so that predictions differ over an image's places.
    """
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=None), channels=1, image_size=EDGE)
    given = {"width": 8, "dropout": 0.0, "output_stride": 4} | hyperparameters
    method: Any = kind(encoder, NUM_CLASSES, **given)
    with torch.no_grad():
        for head in (method.head, method.teacher.head):
            head[-1].weight.mul_(10)
    return method.double()


def views_of(method: Method, seed: int, labelled: int = 3, unlabelled: int = 4) -> dict[str, View]:
    """Return the views of a batch of images and masks of random blocks of 4 x 4 pixels; a fifth has no class."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, (stream, make, make_masks) in method.views().items():
        size = labelled if stream == "labelled" else unlabelled
        images = _blocks(2 * torch.randn(size, 4, 4, generator=generator).double()).unsqueeze(1)
        classes = torch.randint(NUM_CLASSES, (size, 4, 4), generator=generator)
        classes[torch.rand(classes.shape, generator=generator) < 0.2] = IGNORED
        masks = _blocks(classes).to(torch.uint8)
        draws = [Draw(seed, 0, 0, name, np.arange(size), size) for _ in range(2)]
        seen, drawn = make(images, draws[0])
        made[name] = View(seen, None if make_masks is None else make_masks(masks, draws[1]).long(), drawn)
    return made


def _blocks(values: Tensor) -> Tensor:
    """Return each value of [B, h, w] as a block of 4 x 4 pixels."""
    return values.repeat_interleave(4, 1).repeat_interleave(4, 2)


def train(method: Method, steps: int, lr: float = 0.05) -> list[Losses]:
    """Take steps of plain gradient descent; return the losses of each."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=lr)
    taken = []
    for number in range(steps):
        step = Step(number, steps)
        optimizer.zero_grad()
        losses: Losses = method(views_of(method, number), step)
        losses.total.backward()
        optimizer.step()
        method.after_step(step, {name: value.detach() for name, value in losses.outputs.items()})
        taken.append(losses)
    return taken


@torch.no_grad()
def joint_logits(method: Any, *groups: Tensor) -> list[Floats]:
    """Return the student's logits of groups of images that pass it at once; the method stays as it is."""
    encoder, head = deepcopy((method.encoder, method.head))
    return [logits.numpy() for logits in pixel_logits(encoder, head, *groups)]


@torch.no_grad()
def teacher_logits(method: Any, images: Tensor) -> Floats:
    """Return the evaluated networks' logits [B, K, H, W] of images, in eval mode."""
    return np.asarray(deepcopy(method).eval().segment(images))


def softmax(logits: Floats) -> Floats:
    """Return the probabilities of logits [B, K, ...]."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def cross_entropies(logits: Floats, classes: NDArray[np.int64]) -> Floats:
    """Return the cross-entropy of each pixel, [B, H, W]; 0 where it has no class."""
    chosen = np.take_along_axis(softmax(logits), np.where(classes == IGNORED, 0, classes)[:, None], axis=1)[:, 0]
    return np.where(classes == IGNORED, 0.0, -np.log(chosen))


def supervised(logits: Floats, classes: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy of the pixels that have a class."""
    return float(cross_entropies(logits, classes).sum() / (classes != IGNORED).sum())
