"""Label-free criteria of trained weights, on features of unlabelled training images: no label and no test image.

Images are drawn from D_u by the trial's split seed, views by its augmentation seed: the configs of a stage are compared
on the same images and the same views.  Views are the same for all methods, whose own ones may be searched.  Features
are those that later stages start from: the encoder's, in evaluation mode and fp32, without a projector.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from raysl.criteria.criterion_dispatch import OF_VIEWS, value
from raysl.data.augment.siamese import distorted
from raysl.data.augment.views import Draw
from raysl.data.sampling.permutations import Purpose, permutation
from raysl.methods._method import Method
from raysl.models.encoder import Encoder
from raysl.results.criteria import CriterionName
from raysl.training.features import FEATURE_BATCH, extract_features
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Ending

MOST_IMAGES = 2048
# Images of which views are made, and views of each.  LiDAR's paper takes 10 to 100 views, and advises more images than
# the features are wide.
MOST_VIEWED, VIEWS = 1024, 10
# SimSiam's views of small images (Chen & He 2021, appendix D).
distort = partial(distorted, min_crop=0.2, saturation=0.4, p_blur=0.0, p_solarise=0.0)


def measure(
    method: Method, feed: Feed, names: Sequence[CriterionName]
) -> tuple[Ending | None, Mapping[str, float | None]]:
    """Return the divergence of trained weights, if there is one, and the values of some criteria, by name.

    A value is None if the features have none, as the criterion's function says.
    """
    images = _images(feed) if names else None
    if images is None:
        return None, {}
    encoder = method.evaluation().encoder
    plain = extract_features(encoder, images, feed.normalise)
    views = _view_features(encoder, images[:MOST_VIEWED], feed) if {*OF_VIEWS} & {*names} else plain
    if not (np.isfinite(plain).all() and np.isfinite(views).all()):
        return Ending("diverged", "non-finite features after the last step"), {}
    num_classes = feed.spec.data.num_classes
    return None, {name: value(name, views if name in OF_VIEWS else plain, num_classes) for name in names}


def seconds_to_measure(method: Method, feed: Feed, names: Sequence[CriterionName]) -> float:
    """Return the seconds that `measure` takes: features as extrapolated from a batch, criteria as timed on noise."""
    images = _images(feed)
    some, encoder = images[:FEATURE_BATCH], method.evaluation().encoder
    viewed = images[:MOST_VIEWED] if {*OF_VIEWS} & {*names} else images[:0]
    width = extract_features(encoder, some, feed.normalise).shape[1]  # a warm-up too
    seconds = _timed(lambda: extract_features(encoder, some, feed.normalise)) * len(images) / len(some)
    if len(viewed):
        seconds += _timed(lambda: _view_features(encoder, some, feed, 1)) * VIEWS * len(viewed) / len(some)
    noise = np.random.default_rng(0).normal(size=(VIEWS + 1, len(images), width)).astype(np.float32)
    views, num_classes = noise[1:, : len(viewed)], feed.spec.data.num_classes
    return seconds + sum(
        _timed(partial(value, name, views if name in OF_VIEWS else noise[0], num_classes)) for name in names
    )


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _images(feed: Feed) -> np.ndarray:
    """Return at most MOST_IMAGES images of D_u, uint8 [N, H, W, C], in an order drawn by the split seed."""
    order = permutation(len(feed.unlabelled), feed.spec.stream_seed("split"), Purpose.CRITERIA)
    images: np.ndarray = feed.arrays.unlabelled[feed.unlabelled[order[:MOST_IMAGES]]]
    return images


@torch.no_grad()
def _view_features(encoder: Encoder, images: np.ndarray, feed: Feed, num_views: int = VIEWS) -> np.ndarray:
    """Return the features of distorted views of images, float32 [num_views, N, D]."""
    encoder.eval()
    starts = range(0, len(images), FEATURE_BATCH)

    def features(number: int, start: int) -> Tensor:
        rows = np.arange(start, min(start + FEATURE_BATCH, len(images)))
        draw = Draw(feed.spec.stream_seed("augmentation"), 0, number, "criteria", rows, len(images))
        views, _ = distort(feed.normalise.to_float(images[rows]), draw)
        found: Tensor = encoder(feed.normalise(views))
        return found.float()

    views = [torch.cat([features(number, start) for start in starts]) for number in range(num_views)]
    return torch.stack(views).cpu().numpy()
