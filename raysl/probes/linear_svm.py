"""The linear SVM that measures how separable frozen features are (Cavallari & Ponti 2022, section 3.4); torch-free.

The paper names no scaling, and LinearSVC depends on the scale: `scale: none` is the paper's, `standard` gives models of
different learning rates the same scale.  A unit that hardly varies on the images that the SVM is fitted on is divided
by `LEAST_DEVIATION` times the units' mean deviation instead of by its own, so that rare activations do not decide.
Primal and dual have the same solution, and each solver is slow where the other is fast: the primal if features are wide
and the classes separable (600 x 1024: 80 s against 0.5 s), the dual if they are not (1500 x 512: 62 s against 1 s).
Each ends after a fixed number of steps; the trial's log says if the primal has not converged by then.
"""

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysl.probes.folds import Features, Labels, accuracy, cross_validated
from raysl.probes.settings import LinearSVM

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC

WIDE = 4  # fewer images than this many per feature: the classes are probably separable, so the dual is tried first
DUAL_SWEEPS, PRIMAL_STEPS = 1000, 10_000
LEAST_DEVIATION = 0.3  # of the mean over all units

log = logging.getLogger(__name__)


def cross_validated_accuracy(features: Features, labels: Labels, settings: LinearSVM, seed: int) -> float | None:
    """Return the mean accuracy, in [0, 1], over stratified folds shuffled by the seed.

    features: [N, D] of labelled training images.  labels: [N].
    There are `settings.folds` folds, or as many as the smallest class has images. None if a class has fewer than 2
    images, or there is one class only.
    """

    def predict(train_features: Features, train_labels: Labels, held: Features) -> Labels:
        return predictions(train_features, train_labels, held, settings)

    return cross_validated(features, labels, settings.folds, seed, predict)


def test_accuracy(
    train_features: Features, train_labels: Labels, test_features: Features, test_labels: Labels, settings: LinearSVM
) -> float:
    """Return the accuracy, in [0, 1], on test images of a classifier fitted on training images alone.

    train_features: [N, D].  test_features: [M, D].
    """
    return accuracy(predictions(train_features, train_labels, test_features, settings), test_labels)


def predictions(train_features: Features, train_labels: Labels, test_features: Features, settings: LinearSVM) -> Labels:
    """Return the classes of test images, [M], predicted by a classifier fitted on training images alone.

    train_features: [N, D].  test_features: [M, D].  With a single training class, every prediction is that class.
    """
    classes = np.unique(train_labels)
    if len(classes) == 1:
        return np.repeat(classes, len(test_features))
    train, test = train_features.astype(np.float64), test_features.astype(np.float64)
    if settings.scale != "none":
        mean, scale = train.mean(axis=0), _scale(train)
        train, test = (train - mean) / scale, (test - mean) / scale
    predicted: Labels = _fit(train, train_labels, settings).predict(test)
    return predicted


def _scale(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the divisors [D] of features [N, D]; all are 1 if no unit varies."""
    deviations = features.std(axis=0)
    least = LEAST_DEVIATION * deviations.mean()
    return np.maximum(deviations, least) if least > 0 else np.ones_like(deviations)


def _fit(features: NDArray[np.float64], labels: Labels, settings: LinearSVM) -> "LinearSVC":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    num_images, width = features.shape
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        if num_images < WIDE * width:
            try:
                return LinearSVC(C=settings.C, dual=True, max_iter=DUAL_SWEEPS, random_state=0).fit(features, labels)
            except ConvergenceWarning:
                pass
        warnings.simplefilter("ignore", ConvergenceWarning)
        primal = LinearSVC(C=settings.C, dual=False, max_iter=PRIMAL_STEPS).fit(features, labels)
    if primal.n_iter_ >= PRIMAL_STEPS:
        log.warning("the linear SVM has not converged in %d steps; its accuracy is that of the last", PRIMAL_STEPS)
    return primal
