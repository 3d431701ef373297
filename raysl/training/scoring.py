"""The test scores of a finished trial: the only reader of the sealed test set."""

import json
import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from raysl.data.storage.decoded_cache import class_names, load_test
from raysl.methods._method import Method
from raysl.probes.folds import accuracy
from raysl.probes.probe_dispatch import predictions
from raysl.results.records.code import write_code
from raysl.results.records.features import Features, write_features
from raysl.results.records.rows import Score, read_scores, write_score
from raysl.results.storage.store import Store
from raysl.training.building import trained_method
from raysl.training.code import code_of
from raysl.training.features import extract_features, logits
from raysl.training.input_pipeline import Feed
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec

log = logging.getLogger(__name__)


def score_trial(spec: TrialSpec, store: Store, execution: Execution, *, keep_features: bool = False) -> Score:
    """Return the test score of a trial's probe, fitted on D_l's features; write it unless it is written.

    For the probe `classifier`, the method's own trained classifier is scored.
    keep_features: also write the test features, and the class that the probe predicts for each image.
    """
    features = _test_features(spec, store, execution)
    classifier = json.dumps({"classifier": True})
    probe = classifier if spec.probe == "classifier" else spec.probes.used.model_dump_json()
    code = write_code(store, code_of(spec, store))
    score = Score(spec.id, accuracy(features.predicted, features.labels), len(features.labels), probe, code)
    if keep_features:
        write_features(store, features)
    known = read_scores(store, [spec.id]).get(spec.id)
    if known is not None:
        # The trial was scored before, and now only its features are written: a score is written once.
        if known != replace(score, code=known.code):
            log.warning("%r, where %r is written", score, known)
        return known
    write_score(store, score)
    return score


def _test_features(spec: TrialSpec, store: Store, execution: Execution) -> Features:
    device = prepare_process(spec, execution)
    method = trained_method(spec, store).to(device)
    feed = Feed(spec, method.views(), device)
    test_images, test_labels = load_test(spec.data)
    test_features = extract_features(method.evaluation().encoder, test_images, feed.normalise)
    return Features(
        trial_id=spec.id,
        class_names=class_names(spec.data),
        source=spec.data.source,
        labels=test_labels,
        predicted=_predicted(method, feed, test_images, (test_features, test_labels)),
        features=test_features,
    )


def _predicted(
    method: Method, feed: Feed, test_images: np.ndarray, test: tuple[np.ndarray, np.ndarray]
) -> NDArray[np.int64]:
    """Return the classes that the probe predicts for test images; test: their features and labels."""
    if feed.spec.probe == "classifier":
        return np.asarray(logits(method, test_images, feed.normalise).argmax(axis=1), np.int64)
    images, labels = feed.labelled_images()
    train = extract_features(method.evaluation().encoder, images, feed.normalise), labels
    spec = feed.spec
    return np.asarray(predictions(train, test, spec.probes.used, spec.stream_seed("split")), np.int64)
