"""Learners of labelled and unlabelled images in small, and what they are made of in numpy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysl.methods._method import Losses, Method, Step, View
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

NUM_CLASSES, NUM_UNLABELLED = 3, 12
Floats = NDArray[np.float64]


def learner(kind: type[Method], **hyperparameters: Any) -> Any:
    """Return a method of a kind in fp64, around an encoder of 16 features of 8 x 8 gray images."""
    torch.manual_seed(0)
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    method: Any = kind(encoder, NUM_CLASSES, **hyperparameters)
    method.remember(NUM_UNLABELLED)
    return method.double()


def batch(seed: int, labelled: int = 4, unlabelled: int = 8) -> dict[str, View]:
    """Return the views of a batch: random images, the labels of the labelled ones, and places of the others."""
    generator = torch.Generator().manual_seed(seed)
    # Images of different brightness, so that the network is surer of some than of others.
    shapes = [(size, 1, 1, 1) for size in (labelled, unlabelled, unlabelled)]
    images = [4 * torch.randn(shape, generator=generator).double() for shape in shapes]
    images = [image + torch.rand(len(image), 1, 8, 8, generator=generator).double() for image in images]
    rows = torch.randperm(NUM_UNLABELLED, generator=generator)[:unlabelled]
    return {
        "labelled": View(images[0], torch.arange(labelled) % NUM_CLASSES, None, torch.arange(labelled)),
        "weak": View(images[1], None, None, rows),
        "strong": View(images[2], None, None, rows),
    }


def train(method: Method, steps: int, lr: float = 0.5) -> list[tuple[list[Floats], Losses]]:
    """Take steps; return what each began with, the logits of its views in order, and its losses."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=lr)
    seen = []
    for number in range(steps):
        views, step = batch(number), Step(number, steps)
        logits = joint_logits(method, views)
        optimizer.zero_grad()
        losses: Losses = method(views, step)
        losses.total.backward()
        optimizer.step()
        method.after_step(step, {name: value.detach() for name, value in losses.outputs.items()})
        seen.append((logits, losses))
    return seen


def joint_logits(method: Any, views: dict[str, View]) -> list[Floats]:
    """Return the logits of the views, which pass the network at once; running statistics stay."""
    before = {key: value.clone() for key, value in method.encoder.state_dict().items()}
    images = [views[name].images for name in ("labelled", "weak", "strong")]
    with torch.no_grad():
        found: Tensor = method.classifier(method.encoder(torch.cat(images)))
    method.encoder.load_state_dict(before)
    return [part.numpy() for part in found.split([len(group) for group in images])]


def softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))


def cross_entropies(logits: Floats, targets: Floats) -> Floats:
    """Return the cross-entropy of each row; targets: probabilities [B, K]."""
    return np.asarray(-(targets * np.log(softmax(logits))).sum(1))


def one_hot(classes: NDArray[np.int64]) -> Floats:
    return np.eye(NUM_CLASSES)[classes]


def supervised(logits: Floats) -> float:
    """Return the mean cross-entropy of the labelled images of `batch`."""
    return float(cross_entropies(logits, one_hot(np.arange(len(logits)) % NUM_CLASSES)).mean())
