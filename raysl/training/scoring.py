"""The test scores of a finished trial: the only reader of the sealed test set."""

from raysl.data.arrays import load_test
from raysl.probes.linear_svm import test_accuracy
from raysl.results.rows import Score, write_score
from raysl.results.store import Store
from raysl.training import checkpoint
from raysl.training.feed import Feed
from raysl.training.loop import Execution, build_method, prepare_process
from raysl.training.paths import model_path
from raysl.training.spec import TrialSpec
from raysl.training.trial import extract_features


def score_trial(spec: TrialSpec, store: Store, execution: Execution) -> Score:
    """Fit the probe on D_l's features, score it on the test set, and write the score."""
    device = prepare_process(spec, execution)
    assert spec.data.channels is not None, "a trial's data are resolved"
    method = build_method(spec.model_copy(update={"start": None}), spec.data.channels, store)
    method.load_state_dict(checkpoint.load(store, model_path(spec.id))["method"])
    method.to(device)
    feed = Feed(spec, method.views(), device)
    images, labels = feed.labelled_images()
    test_images, test_labels = load_test(spec.data)
    probe = spec.probes.linear_svm
    accuracy = test_accuracy(
        extract_features(method.encoder, images, feed.normalise),
        labels,
        extract_features(method.encoder, test_images, feed.normalise),
        test_labels,
        probe,
    )
    score = Score(spec.id, test_accuracy=accuracy, num_test=len(test_labels), probe=probe.model_dump_json())
    write_score(store, score)
    return score
