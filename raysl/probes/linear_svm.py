"""The linear SVM that measures how separable frozen features are (Cavallari & Ponti 2022, section 3.4); torch-free.

LinearSVC is not free of scale, so features are standardised, by the mean and deviation of the images it is fitted on.
Primal and dual have the same solution, and each solver crawls where the other is fast: the primal where features are
wide and the classes separable (600 x 1024: 80 s against 0.5 s), the dual where they are not (1500 x 512: 62 s
against 1 s).
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raysl.probes.folds import Features, Labels, accuracy, cross_validated
from raysl.probes.settings import LinearSVM

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

WIDE = 4  # fewer images than this many per feature: the classes are probably separable, so the dual is tried first
DUAL_SWEEPS = 1000


def cross_validated_accuracy(features: Features, labels: Labels, settings: LinearSVM, seed: int) -> float | None:
    """Return the mean accuracy, in [0, 1], over stratified folds shuffled by the seed.

    features: [N, D] of labelled training images.  labels: [N].
    There are `settings.folds` folds, or as many as the smallest class has images. None where that cannot be done:
    a class with fewer than 2 images, or one class only.
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
    """Return what a classifier fitted on training images alone takes test images for, [M].

    train_features: [N, D].  test_features: [M, D].  A single training class is what every image is taken for.
    """
    classes = np.unique(train_labels)
    if len(classes) == 1:
        return np.repeat(classes, len(test_features))
    classifier = _fit(train_features.astype(np.float64), train_labels, settings)
    predicted: Labels = classifier.predict(test_features.astype(np.float64))
    return predicted


def _fit(features: NDArray[np.float64], labels: Labels, settings: LinearSVM) -> "Pipeline":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    num_images, width = features.shape
    if num_images < WIDE * width:
        dual = LinearSVC(C=settings.C, dual=True, max_iter=DUAL_SWEEPS, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                return make_pipeline(StandardScaler(), dual).fit(features, labels)
            except ConvergenceWarning:
                pass
    return make_pipeline(StandardScaler(), LinearSVC(C=settings.C, dual=False, max_iter=10_000)).fit(features, labels)
