"""SoftMatch's weights are those of the formulas, in numpy."""

import math

import numpy as np
import pytest
import torch
from learners import NUM_CLASSES, cross_entropies, learner, one_hot, softmax, supervised, train

from raysl.methods.softmatch import Averages, Softmatch, confidence_weights

DEFAULTS = {"num_sigma": 2.0, "lambda_u": 1.0, "confidence_momentum": 0.999, "momentum": 0.999, "p_flip": 0.5}
SHAPES_LOSS = ["num_sigma", "lambda_u", "confidence_momentum", "p_flip"]
IMPOSSIBLE = [{"num_sigma": 0.0}, {"lambda_u": 0.0}, {"confidence_momentum": 1.1}, {"momentum": 1.1}, {"p_flip": 1.5}]
PASSES = 1  # all views at once


def test_the_loss_is_that_of_numpy() -> None:
    method = learner(Softmatch, confidence_momentum=0.8, lambda_u=2.0)
    mean, variance, p = 1 / NUM_CLASSES, 1.0, None
    for (labelled, weakly, strongly), losses in train(method, 5):
        q = softmax(weakly)
        p = q.mean(0) if p is None else 0.8 * p + 0.2 * q.mean(0)
        aligned = q * (1 / NUM_CLASSES + 1e-6) / (p + 1e-6)
        highest = (aligned / aligned.sum(1, keepdims=True)).max(1)
        mean = 0.8 * mean + 0.2 * highest.mean()
        variance = 0.8 * variance + 0.2 * highest.var(ddof=1)
        weights = np.exp(-(np.minimum(highest - mean, 0) ** 2) / (2 * variance / 4))
        consistency = (weights * cross_entropies(strongly, one_hot(q.argmax(1)))).mean()  # labels are not aligned
        assert losses.terms["consistency"].item() == pytest.approx(consistency)
        assert losses.total.item() == pytest.approx(supervised(labelled) + 2 * consistency)
        assert losses.confident is not None
        assert losses.confident.item() == pytest.approx(weights.mean())


def test_weights_by_hand() -> None:
    averages = Averages(torch.tensor(0.7), torch.tensor(0.04), torch.ones(3))
    weights = confidence_weights(torch.tensor([0.9, 0.7, 0.6]), averages, 2.0)
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.0, math.exp(-0.01 * 4 / 0.08)]))
    without_spread = averages._replace(variance=torch.tensor(0.0))
    weights = confidence_weights(torch.tensor([0.9, 0.7, 0.6]), without_spread, 2.0)
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.0, 0.0]))
