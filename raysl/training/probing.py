"""The probe accuracy of trained weights."""

import numpy as np

from raysl.methods._method import Method
from raysl.probes.probe_dispatch import training_accuracy
from raysl.training.features import FEATURE_BATCH, extract_features, logits
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Ending
from raysl.training.spec import TrialSpec


def probed(spec: TrialSpec, method: Method, feed: Feed) -> tuple[Ending | None, float | None]:
    """Return the divergence of a trained trial, if there is one, and its probe accuracy.

    Weights may diverge in the last step, after the last loss was computed.  The accuracy is None for the probe
    `classifier`: it has been trained on all of D_l, so no image is left to validate it on.
    """
    images, labels = feed.labelled_images()
    if spec.probe == "classifier":
        whole = np.isfinite(logits(method, images[:FEATURE_BATCH], feed.normalise)).all()
        return (None if whole else Ending("diverged", "non-finite logits after the last step")), None
    features = extract_features(method.evaluation().encoder, images, feed.normalise)
    if not np.isfinite(features).all():
        return Ending("diverged", "non-finite features after the last step"), None
    return None, training_accuracy(features, labels, spec.probes.used, spec.stream_seed("split"))
