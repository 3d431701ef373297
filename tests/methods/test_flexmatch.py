"""FlexMatch's thresholds follow how many unlabelled images each class has had sure predictions of."""

from collections import Counter

import numpy as np
import pytest
import torch
from learners import NUM_CLASSES, NUM_UNLABELLED, batch, cross_entropies, learner, one_hot, softmax, supervised, train

from raysl.methods._method import Step
from raysl.methods.flexmatch import UNSURE, Flexmatch, class_thresholds

DEFAULTS = {"tau": 0.95, "lambda_u": 1.0, "momentum": 0.999, "p_flip": 0.5}
SHAPES_LOSS = ["tau", "lambda_u", "p_flip"]
IMPOSSIBLE = [{"tau": 1.1}, {"lambda_u": 0.0}, {"momentum": 1.1}, {"p_flip": 1.5}]
PASSES = 1  # all views at once
CONSTANT = ["predicted"]  # of a network that is sure of nothing


def test_thresholds_by_hand() -> None:
    # 4 images of class 0, 2 of class 1, none of class 2, and 2 without a sure prediction.
    predicted = torch.tensor([0, 0, 0, 0, 1, 1, UNSURE, UNSURE])
    expected = [0.9, 0.9 * 0.5 / 1.5, 0.0]
    torch.testing.assert_close(class_thresholds(predicted, 3, 0.9), torch.tensor(expected))
    # Most images have none yet: their number is what classes are compared with.
    predicted = torch.tensor([0, 0, UNSURE, UNSURE, UNSURE, UNSURE])
    torch.testing.assert_close(class_thresholds(predicted, 2, 0.9), torch.tensor([0.9 * 0.5 / 1.5, 0.0]))
    assert class_thresholds(torch.full((4,), UNSURE), 2, 0.9).tolist() == [0, 0]


def test_the_loss_is_that_of_a_plain_loop_with_a_counter() -> None:
    tau, selected = 0.4, [UNSURE] * NUM_UNLABELLED
    method = learner(Flexmatch, tau=tau, lambda_u=2.0)
    for number, ((labelled, weakly, strongly), losses) in enumerate(train(method, 6)):
        counter = Counter(selected)
        learnt = [counter[c] / max(counter.values()) for c in range(NUM_CLASSES)]
        q = softmax(weakly)
        counts = np.array([row.max() >= tau * learnt[row.argmax()] / (2 - learnt[row.argmax()]) for row in q])
        consistency = (counts * cross_entropies(strongly, one_hot(q.argmax(1)))).mean()
        assert losses.terms["consistency"].item() == pytest.approx(consistency)
        assert losses.total.item() == pytest.approx(supervised(labelled) + 2 * consistency)
        for row, place in zip(q, batch(number)["weak"].rows.tolist(), strict=True):
            if row.max() >= tau:
                selected[place] = int(row.argmax())
    assert method.get_buffer("predicted").tolist() == selected
    assert {UNSURE} < set(selected)


def test_of_an_image_that_a_batch_has_twice_the_last_sure_prediction_counts() -> None:
    method = learner(Flexmatch)
    rows = torch.tensor([5, 5, 5, 2, 2])
    method.after_step(Step(0, 1), {"rows": rows, "predicted": torch.tensor([0, 1, UNSURE, 2, 0])})
    predicted = method.get_buffer("predicted")
    assert (predicted[5], predicted[2]) == (1, 0)
    assert (predicted != UNSURE).sum() == 2
