"""The probe that settings ask for, applied to features: one place for all who measure."""

from raysl.probes import clustering, knn, linear_svm
from raysl.probes.folds import Features, Labels
from raysl.probes.settings import KNN, Clustering, LinearSVM, ProbeSettings


def training_accuracy(features: Features, labels: Labels, settings: ProbeSettings, seed: int) -> float | None:
    """Return the accuracy, in [0, 1], on labelled training images alone, which selection may read.

    features: [N, D] of D_l.  labels: [N].  None where there are too few for a cross-validation.
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
    """Return what the images of the test set are taken for, [M].

    train: features [N, D] and labels [N] of D_l, which a classifier is fitted on.
    test: features [M, D] and labels [M]; clusters alone are matched with these labels, as their measure has it.
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
