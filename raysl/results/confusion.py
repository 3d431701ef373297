"""Confusion matrices of pixels, and the IoU of classes."""

import numpy as np
from numpy.typing import NDArray

IGNORED = 255  # the class of pixels that no measure and no loss counts

Matrix = NDArray[np.int64]


def confusion_matrix(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], num_classes: int) -> Matrix:
    """Return how many pixels of each class (rows) are taken for each class (columns): int64 [K, K].

    truth: any shape; pixels of IGNORED are not counted.  predicted: of that shape, all below num_classes.
    """
    counted = truth != IGNORED
    pairs = truth[counted].astype(np.int64) * num_classes + predicted[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_ious(confusion: Matrix) -> NDArray[np.float64]:
    """Return the IoU of each class, float64 [K]: |truth and predicted| / |truth or predicted|.

    NaN for a class that no pixel has: it is not in the set.
    """
    inner = np.diagonal(confusion).astype(np.float64)
    truth = confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - inner
    return np.where(truth > 0, inner / np.maximum(union, 1), np.nan)


def mean_iou(confusion: Matrix) -> float:
    """Return the mean IoU of the classes that some pixel has, in [0, 1]; 0 if there is none."""
    ious = class_ious(confusion)
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else 0.0
