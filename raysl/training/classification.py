"""The task of images with one class each: accuracy of a probe on features, or of the method's own classifier."""

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from raysl.data.storage.decoded_cache import class_names, load_test
from raysl.methods._method import Method
from raysl.probes.folds import accuracy
from raysl.probes.probe_dispatch import predictions, training_accuracy
from raysl.results.metrics import ACCURACY
from raysl.results.records.features import Features
from raysl.training.features import FEATURE_BATCH, extract_features, logits
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Ending
from raysl.training.task import SealedScore


class Classification:
    """Measures the accuracy of classes; a `raysl.training.task.Task`."""

    def probe(self, method: Method, feed: Feed) -> tuple[Ending | None, Mapping[str, float]]:
        """Return the divergence of trained weights, if there is one, and the accuracy on D_l.

        Weights may diverge in the last step, after the last loss was computed.  There is no accuracy for the probe
        `classifier`, which has been trained on all of D_l, nor if a class has too few images for a cross-validation.
        A trial that trains nothing has the accuracy of a linear SVM instead of its classifier's.
        Of a trial without a fold of D_l, the accuracy is that on the images of the fold.
        """
        images, labels = feed.probe_images()
        spec = feed.spec
        if spec.probe == "classifier" and spec.trains:
            whole = np.isfinite(logits(method, images[:FEATURE_BATCH], feed.normalise)).all()
            ending = None if whole else Ending("diverged", "non-finite logits after the last step")
            return ending, {} if ending or spec.fold is None else _on_fold(method, feed)
        features = extract_features(method.evaluation().encoder, images, feed.normalise)
        if not np.isfinite(features).all():
            return Ending("diverged", "non-finite features after the last step"), {}
        if spec.fold is not None:
            return None, _on_fold(method, feed)
        found = training_accuracy(features, labels, spec.probes.used, spec.stream_seed("split"))
        return None, {} if found is None else {ACCURACY.name: found}

    def test(self, method: Method, feed: Feed) -> SealedScore:
        """Return the accuracy on the test set, of the probe fitted on D_l or of the method's own classifier."""
        spec = feed.spec
        images, labels = load_test(spec.data)
        features = extract_features(method.evaluation().encoder, images, feed.normalise)
        predicted = _predicted(method, feed, images, (features, labels))
        classifier = json.dumps({"classifier": True})
        return SealedScore(
            metrics={ACCURACY.name: accuracy(predicted, labels)},
            num_test=len(labels),
            probe=classifier if spec.probe == "classifier" else spec.probes.used.model_dump_json(),
            kept=Features(spec.id, class_names(spec.data), spec.data.source, labels, predicted, features),
        )


def _on_fold(method: Method, feed: Feed) -> Mapping[str, float]:
    """Return the accuracy on the fold of D_l that was left out."""
    images, labels = feed.held_out_images()
    features = extract_features(method.evaluation().encoder, images, feed.normalise)
    return {ACCURACY.name: accuracy(_predicted(method, feed, images, (features, labels)), labels)}


def _predicted(
    method: Method, feed: Feed, test_images: np.ndarray, test: tuple[np.ndarray, np.ndarray]
) -> NDArray[np.int64]:
    """Return the classes that the probe predicts for images that it has not seen; test: their features and labels."""
    if feed.spec.probe == "classifier":
        return np.asarray(logits(method, test_images, feed.normalise).argmax(axis=1), np.int64)
    images, labels = feed.probe_images()
    train = extract_features(method.evaluation().encoder, images, feed.normalise), labels
    spec = feed.spec
    return np.asarray(predictions(train, test, spec.probes.used, spec.stream_seed("split")), np.int64)
