"""The task of images with masks: mean IoU of a method's own segmentation.

There is one confusion matrix over all pixels of a set, whatever the images' sizes and the number of ranks; pixels that
are ignored are not counted. A class that no pixel has is in no mean. Everything is measured at the size at which images
are decoded.
"""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from raysl import methods
from raysl.data.sampling.permutations import Indices
from raysl.data.storage.decoded_cache import class_names, load_test_masks
from raysl.methods._method import Method
from raysl.results.confusion import confusion_matrix, mean_iou
from raysl.results.metrics import MEAN_IOU
from raysl.results.records.rows import UNMEASURED
from raysl.results.records.segmented import Segmented, shown_places
from raysl.training.features import extract_features
from raysl.training.input_pipeline import Feed, Normaliser
from raysl.training.loop import Ending
from raysl.training.task import SealedScore

PIXELS = 1 << 20  # of images at once

Masks = NDArray[np.uint8]


class SegmentationTask:
    """Measures the mean IoU of masks; a `raysl.training.task.Task`.

    A method that learns no masks has no metrics: what it has learnt is measured by the stages that start from it.
    """

    def probe(self, method: Method, feed: Feed) -> tuple[Ending | None, Mapping[str, float]]:
        """Return the divergence of trained weights, if there is one, and the mean IoU on D_l, which was trained on."""
        images, masks, rows = feed.arrays.images, feed.arrays.masks, feed.labelled
        assert masks is not None, "its images have masks"
        if not _segments(method, feed):
            features = extract_features(method.evaluation().encoder, images[rows[:2]], feed.normalise)
            whole = np.isfinite(features).all()
            return (None if whole else Ending("diverged", "non-finite features after the last step")), {}
        confusion = np.zeros((feed.spec.data.num_classes,) * 2, np.int64)
        for truth, predicted in _segmented(method, images, masks.classes, rows, feed.normalise):
            if predicted is None:
                return Ending("diverged", "non-finite logits after the last step"), {}
            confusion += confusion_matrix(truth, predicted, len(confusion))
        return None, {MEAN_IOU.name: mean_iou(confusion)}

    def test(self, method: Method, feed: Feed) -> SealedScore:
        """Return the mean IoU on the test set, with the masks of its best, median and worst images."""
        data = feed.spec.data
        images, masks = load_test_masks(data)
        names = class_names(data)
        if not _segments(method, feed):
            return SealedScore({}, len(images), UNMEASURED, Segmented.empty(feed.spec.id, names, data.source))
        predicted = np.empty_like(masks)
        done = 0
        for _, found in _segmented(method, images, masks, np.arange(len(images)), feed.normalise):
            assert found is not None, "the trial has finished"
            predicted[done : done + len(found)] = found
            done += len(found)
        each = np.stack([confusion_matrix(*pair, len(names)) for pair in zip(masks, predicted, strict=True)])
        places = shown_places(each)
        kept = Segmented(
            feed.spec.id, names, data.source, each.sum(0), places, images[places], masks[places], predicted[places]
        )
        metrics = {MEAN_IOU.name: mean_iou(kept.confusion)}
        return SealedScore(metrics, len(images), json.dumps({"segmentation": True}), kept)


def _segments(method: Method, feed: Feed) -> bool:
    return feed.spec.method["name"] in methods.segmenters()


@torch.no_grad()
def _segmented(
    method: Method, images: np.ndarray, masks: Masks, rows: Indices, normalise: Normaliser
) -> Iterator[tuple[Masks, Masks | None]]:
    """Yield the masks of some rows, batch by batch, with the predicted classes; None for logits that are not finite."""
    method.eval()
    size = max(1, PIXELS // (images.shape[1] * images.shape[2]))
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        logits = method.segment(normalise(normalise.to_float(images[batch])))
        classes = logits.argmax(dim=1).to(torch.uint8).cpu().numpy() if bool(logits.isfinite().all()) else None
        yield masks[batch], classes
