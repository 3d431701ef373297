"""The test scores of a finished trial: the only reader of the sealed test set."""

import logging
from dataclasses import replace

from raysl.results.records.code import write_code
from raysl.results.records.features import write_kept
from raysl.results.records.rows import Score, read_scores, write_score
from raysl.results.storage.store import Store
from raysl.training.building import trained_method
from raysl.training.code import code_of
from raysl.training.input_pipeline import Feed
from raysl.training.process import Execution, prepare_process
from raysl.training.spec import TrialSpec
from raysl.training.tasks import task_of

log = logging.getLogger(__name__)


def score_trial(spec: TrialSpec, store: Store, execution: Execution, *, keep_features: bool = False) -> Score:
    """Return the test score of a trial's probe, fitted on D_l's features; write it unless it is written.

    For the probe `classifier`, the method's own trained classifier is scored.
    keep_features: also write the test features, and the class that the probe predicts for each image; of images with
        masks, some of those with the predicted masks.
    """
    assert spec.fold is None, "a trial without a fold is only compared"
    device = prepare_process(spec, execution)
    method = trained_method(spec, store).to(device)
    result = task_of(spec).test(method, Feed(spec, method.views(), device))
    code = write_code(store, code_of(spec, store))
    score = Score(spec.id, result.metrics, result.num_test, result.probe, code)
    if keep_features:
        write_kept(store, result.kept)
    known = read_scores(store, [spec.id]).get(spec.id)
    if known is not None:
        # The trial was scored before, and now only its features are written: a score is written once.
        if known != replace(score, code=known.code):
            log.warning("%r, where %r is written", score, known)
        return known
    write_score(store, score)
    return score
