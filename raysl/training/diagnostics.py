"""Diagnostics of a trained model on a few training images."""

from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysl.data.storage.decoding import Images
from raysl.methods._method import Diagnostic
from raysl.results.storage.store import Store
from raysl.training.building import trained_method
from raysl.training.input_pipeline import Feed, Normaliser
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec

NUM_BATCHES = 20  # number of batches that a method may choose from


class Matrix(NamedTuple):
    """A method's `Matrix`, with values as a NumPy array, float32 [rows, columns]."""

    title: str
    values: NDArray[np.float32]
    low: float
    high: float | None


class Shown(NamedTuple):
    """A method's `Diagnostic`, with images as a NumPy array, uint8 [N, H, W, C], not normalised."""

    title: str
    caption: str
    rows: Images
    columns: Images
    matrices: tuple[Matrix, ...]


@torch.no_grad()
def diagnosed(spec: TrialSpec, store: Store, name: str, num_images: int) -> Shown:
    """Return a diagnostic of a trial's trained method, on views of its training images.

    The model is in eval mode: batch normalisation uses its running statistics, as for the probes, because a batch is
    small.
    num_images: of a batch, at most; few enough for a picture.
    Raises CheckpointError if the model is damaged.
    """
    device = prepare_process(spec, Execution())
    method = trained_method(spec, store)
    few = {"batch_size": num_images, "steps_per_epoch": None, "unlabelled_ratio": None}
    feed = Feed(spec.model_copy(update=few), method.views(), device)
    batches = (feed.make_views(batch, 0) for batch in islice(feed.batches(0, 0, 1), NUM_BATCHES))
    return _shown(method.eval().diagnose(name, batches), feed.normalise)


def _shown(found: Diagnostic, normalise: Normaliser) -> Shown:
    return Shown(
        found.title,
        found.caption,
        _pixels(found.rows, normalise),
        _pixels(found.columns, normalise),
        tuple(Matrix(title, values.numpy(), low, high) for title, values, low, high in found.matrices),
    )


def _pixels(images: Tensor, normalise: Normaliser) -> Images:
    """Return normalised images as uint8 pixels."""
    pixels = (images * normalise.std + normalise.mean).clamp(0, 1).mul(255).round().byte()
    found: Images = pixels.permute(0, 2, 3, 1).numpy()
    return found
