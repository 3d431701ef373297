"""UDA's loss is that of its formula."""

import numpy as np
import pytest
from learners import cross_entropies, learner, softmax, supervised, train

from raysl.methods.uda import Uda

DEFAULTS = {"temperature": 0.4, "threshold": 0.8, "lambda_u": 1.0, "momentum": 0.999, "p_flip": 0.5}
SHAPES_LOSS = ["temperature", "threshold", "lambda_u", "p_flip"]
IMPOSSIBLE = [{"temperature": 0.0}, {"threshold": 1.1}, {"lambda_u": 0.0}, {"momentum": -0.1}, {"p_flip": 1.5}]
PASSES = 1  # all views at once


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_the_loss_is_that_of_numpy(threshold: float) -> None:
    method = learner(Uda, temperature=0.4, threshold=threshold, lambda_u=2.0)
    shares = []
    for (labelled, weakly, strongly), losses in train(method, 3):
        counts = softmax(weakly).max(1) >= threshold  # of the probabilities before they are sharpened
        consistency = np.where(counts, cross_entropies(strongly, softmax(weakly / 0.4)), 0).mean()
        assert losses.terms["consistency"].item() == pytest.approx(consistency)
        assert losses.total.item() == pytest.approx(supervised(labelled) + 2 * consistency)
        shares.append((counts.mean(), (softmax(weakly / 0.4).max(1) >= threshold).mean()))
    assert threshold == 0 or any(0 < share < sharpened for share, sharpened in shares)
