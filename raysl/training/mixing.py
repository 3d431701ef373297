"""What TriMix mixes of a few training images, and how a trained model takes it apart (Bdair et al. 2022, Figure 5)."""

from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from raysl.data.decoding import Images
from raysl.methods._method import View
from raysl.methods.trimix import Trimix
from raysl.results.store import Store
from raysl.training.feed import Feed, Normaliser
from raysl.training.loop import Execution, prepare_process
from raysl.training.scoring import trained_method
from raysl.training.spec import TrialSpec

NUM_BATCHES = 20  # that are looked at
Matrix = NDArray[np.float32]


class Mixed(NamedTuple):
    """A batch, what is mixed of it, and what the embeddings say of the mixing.

    images, virtual: uint8 [B, H, W, C].  virtual image n is lambda image n + (1 - lambda) image B - 1 - n.
    truth, before, after: [B, B], rows are images and columns virtual ones: GT of equation 8, and M before and after the
        softmax (equations 6 and 7), which is along the rows.
    """

    images: Images
    virtual: Images
    truth: Matrix
    before: Matrix
    after: Matrix


def mixed(spec: TrialSpec, store: Store, num_images: int) -> Mixed:
    """Mix some of a trial's training images as its feed makes their views, with the model as it is at the end.

    Of the first batches the one whose lambda is nearest a half, where both images of a mixture can be seen.
    num_images: at most; the batch is smaller than those of the training, so that it can be looked at. The model is in
        eval mode: batch normalisation has its running statistics, as for the probes, and not those of so few images.
        Embeddings are standardised over these images all the same, as the loss has it.
    Raises CheckpointError where the model is damaged.
    """
    device = prepare_process(spec, Execution())
    method = trained_method(spec, store)
    assert isinstance(method, Trimix), "only such trials come here"
    feed = Feed(spec.model_copy(update={"batch_size": num_images}), method.views(), device)
    every = (feed.make_views(batch, 0) for batch in islice(feed.batches(0, 0, 1), NUM_BATCHES))
    method.eval()
    found = method.mixing(min(every, key=_one_sided))
    return Mixed(
        images=_pixels(found.images, feed.normalise),
        virtual=_pixels(found.virtual, feed.normalise),
        truth=found.truth.numpy(),
        before=found.before.numpy(),
        after=found.after.numpy(),
    )


def _one_sided(views: Mapping[str, View]) -> float:
    lambd = views["first"].drawn
    assert lambd is not None, "it is drawn for the first view"
    return abs(float(lambd[0]) - 0.5)


def _pixels(images: Tensor, normalise: Normaliser) -> Images:
    """Return normalised images as they are looked at."""
    pixels = (images * normalise.std + normalise.mean).clamp(0, 1).mul(255).round().byte()
    found: Images = pixels.permute(0, 2, 3, 1).numpy()
    return found
