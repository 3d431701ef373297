"""FreeMatch's thresholds and its fairness are those of the formulas, in numpy."""

import numpy as np
import pytest
import torch
from learners import NUM_CLASSES, cross_entropies, learner, one_hot, softmax, supervised, train

from raysl.methods.freematch import Averages, Freematch, fairness_loss

DEFAULTS = {"lambda_u": 1.0, "lambda_f": 0.001, "threshold_momentum": 0.999, "momentum": 0.999, "p_flip": 0.5}
SHAPES_LOSS = ["lambda_u", "lambda_f", "threshold_momentum", "p_flip"]
IMPOSSIBLE = [{"lambda_u": 0.0}, {"lambda_f": -1.0}, {"threshold_momentum": 1.1}, {"momentum": 1.1}, {"p_flip": 1.5}]
PASSES = 1  # all views at once


def fairness(strongly: np.ndarray, counts: np.ndarray, p: np.ndarray, h: np.ndarray) -> float:
    chosen = softmax(strongly[counts])
    shares = np.bincount(chosen.argmax(1), minlength=NUM_CLASSES) / len(chosen)
    a = p / h
    b = np.array([mean / share if share else 0 for mean, share in zip(chosen.mean(0), shares, strict=True)])
    return float((a / a.sum() * np.log(b / b.sum() + 1e-12)).sum())


def test_the_loss_is_that_of_numpy() -> None:
    method = learner(Freematch, threshold_momentum=0.8, lambda_u=2.0, lambda_f=0.3)
    tau, p, h = 1 / NUM_CLASSES, np.full(NUM_CLASSES, 1 / NUM_CLASSES), np.full(NUM_CLASSES, 1 / NUM_CLASSES)
    some = []
    for (labelled, weakly, strongly), losses in train(method, 6):
        q = softmax(weakly)
        tau = 0.8 * tau + 0.2 * q.max(1).mean()
        p = 0.8 * p + 0.2 * q.mean(0)
        h = 0.8 * h + 0.2 * np.bincount(q.argmax(1), minlength=NUM_CLASSES) / len(q)
        counts = q.max(1) >= (tau * p / p.max())[q.argmax(1)]
        consistency = (counts * cross_entropies(strongly, one_hot(q.argmax(1)))).mean()
        fair = fairness(strongly, counts, p, h)
        assert losses.terms["consistency"].item() == pytest.approx(consistency)
        assert losses.terms["fairness"].item() == pytest.approx(fair)
        assert losses.total.item() == pytest.approx(supervised(labelled) + 2 * consistency + 0.3 * fair)
        some.append(0 < counts.mean() < 1)
    assert any(some)
    assert method.get_buffer("highest").item() == pytest.approx(tau)


def test_without_an_image_that_counts_there_is_no_fairness() -> None:
    strongly = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    averages = Averages(torch.tensor(0.5), torch.full((3,), 1 / 3), torch.tensor([0.5, 0.5, 0.0]))
    loss = fairness_loss(strongly, torch.zeros(4), averages)
    loss.backward()
    assert loss.item() == 0
    assert strongly.grad is not None
    assert not strongly.grad.any()
