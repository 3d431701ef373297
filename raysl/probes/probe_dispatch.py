"""The choice of a probe by its settings: the one place where probes are applied to features."""

from raysl.probes import clustering, knn, linear_svm
from raysl.probes.folds import Features, Labels
from raysl.probes.settings import KNN, Clustering, LinearSVM, ProbeSettings


def training_accuracy(features: Features, labels: Labels, settings: ProbeSettings, seed: int) -> float | None:
    """Return the accuracy, in [0, 1], on labelled training images alone, which selection may read.

    features: [N, D] of D_l.  labels: [N].  None if there are too few for a cross-validation.
    """
    match settings:
        case LinearSVM():
            return linear_svm.cross_validated_accuracy(features, labels, settings, seed)
        case KNN():
            return knn.cross_validated_accuracy(features, labels, settings, seed)
        case Clustering():
            return clustering.clustering_accuracy(features, labels, settings, seed)


def predictions(
    train: tuple[Features, Labels], test: tuple[Features, Labels], settings: ProbeSettings, seed: int
) -> Labels:
    """Return the predicted classes of the images of the test set, [M].

    train: features [N, D] and labels [N] of D_l, on which a classifier is fitted.
    test: features [M, D] and labels [M]; only clustering uses these labels, to map clusters to classes.
    """
    features, labels = train
    test_features, test_labels = test
    match settings:
        case LinearSVM():
            return linear_svm.predictions(features, labels, test_features, settings)
        case KNN():
            return knn.predictions(features, labels, test_features, settings)
        case Clustering():
            return clustering.matched_classes(test_features, test_labels, settings, seed)
