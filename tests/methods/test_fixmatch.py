"""FixMatch's loss is that of its formula; the average of the weights is evaluated."""

import math

import numpy as np
import pytest
import torch
from learners import batch, cross_entropies, learner, one_hot, softmax, supervised, train

from raysl.methods._method import Step
from raysl.methods.fixmatch import Fixmatch, confident, consistency_loss, logits_of

DEFAULTS = {"tau": 0.95, "lambda_u": 1.0, "momentum": 0.999, "p_flip": 0.5}
SHAPES_LOSS = ["tau", "lambda_u", "p_flip"]
IMPOSSIBLE = [{"tau": 1.1}, {"tau": -0.1}, {"lambda_u": 0.0}, {"momentum": 1.1}, {"p_flip": 1.5}]
PASSES = 1  # all views at once


def test_the_loss_of_four_images_by_hand() -> None:
    # Probabilities 0.8, 0.5, 0.6 and 0.8 of classes 0, 0, 1 and 1; two images are sure by tau = 0.8, one exactly.
    weakly = torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.4, 0.6], [0.19, 0.81]]).double().log()
    strongly = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.9, 0.1], [0.25, 0.75]]).double().log()
    tau = weakly.softmax(dim=1)[0, 0].item()
    classes, sure = confident(weakly, tau)
    assert classes.tolist()[2:] == [1, 1]
    assert sure.tolist() == [1, 0, 0, 1]
    loss = consistency_loss(strongly, classes, sure)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 4)  # by all four, not by the two


@pytest.mark.parametrize("tau", [0.0, 0.4])
def test_the_loss_is_that_of_numpy(tau: float) -> None:
    shares = []
    for (labelled, weakly, strongly), losses in train(learner(Fixmatch, tau=tau, lambda_u=3.0), 3):
        q = softmax(weakly)
        sure = (q.max(1) >= tau).astype(float)
        consistency = (sure * cross_entropies(strongly, one_hot(q.argmax(1)))).mean()
        assert losses.terms["consistency"].item() == pytest.approx(consistency)
        assert losses.total.item() == pytest.approx(supervised(labelled) + 3 * consistency)
        assert losses.confident is not None
        assert losses.confident.item() == pytest.approx(sure.mean())
        shares.append(sure.mean())
    assert tau == 0 or 0 < min(shares) < 1


def test_a_pseudo_label_has_no_gradient() -> None:
    method = learner(Fixmatch, tau=0.0)
    views = batch(0)
    labelled, weakly, strongly = logits_of(method.encoder, method.classifier, views)
    assert (labelled.requires_grad, weakly.requires_grad, strongly.requires_grad) == (True, False, True)
    method.encoder.eval()  # batch normalisation lets no view reach another
    images = {name: view.images.requires_grad_() for name, view in views.items()}
    method(views, Step(0, 1)).total.backward()
    reached = {name: seen.grad is not None and bool(seen.grad.any()) for name, seen in images.items()}
    assert reached == {"labelled": True, "weak": False, "strong": True}


def test_labelled_images_are_normalised_with_the_unlabelled_ones() -> None:
    method = learner(Fixmatch)
    first, second = batch(0), batch(0) | {"strong": batch(1)["strong"]}
    terms = [method(views, Step(0, 1)).terms["supervised"] for views in (first, second)]
    assert not torch.equal(*terms)


def test_the_average_of_the_weights_is_evaluated() -> None:
    method = learner(Fixmatch, momentum=0.9)
    expected = {key: p.detach().clone() for key, p in method.encoder.named_parameters()}
    for number in range(3):
        train(method, 1)
        for key, parameter in method.encoder.named_parameters():
            expected[key] = 0.9 * expected[key] + 0.1 * parameter.detach()
        encoder, classifier = method.evaluation()
        torch.testing.assert_close(dict(encoder.named_parameters()), expected, msg=f"step {number}")
        assert not torch.equal(classifier.weight, method.classifier.weight)
    raw, averaged = dict(method.encoder.named_buffers()), dict(encoder.named_buffers())
    torch.testing.assert_close(averaged, raw, rtol=0, atol=0)  # the running statistics are the network's own


def test_biases_and_norms_have_no_weight_decay() -> None:
    method = learner(Fixmatch)
    [group] = method.parameter_groups().values()
    trained = [p for p in method.parameters() if p.requires_grad]
    assert group.weight_decay == 0
    assert {id(p) for p in group.parameters} == {id(p) for p in trained if p.ndim == 1}
    assert np.sum([p.ndim > 1 for p in trained]) > 5
