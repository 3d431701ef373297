"""FreeMatch: Wang et al. 2023, "FreeMatch: self-adaptive thresholding for semi-supervised learning", arXiv:2205.07246:
`fixmatch` whose threshold for class c is tau_t p_t(c) / max_c p_t(c).  tau_t is a moving average of
the mean highest probability over unlabelled images, p_t of their mean probabilities; both begin at 1 / C.

A fairness term is added with weight lambda_f: sum_c a(c) log b(c), where a is p_t / h_t, b is
p / h of the strong views of the images that count, h are the shares of predicted classes, h_t their moving average, and
a and b are scaled to sum 1.  It is highest where b is a; its sign is that of the published code.

As in USB's code (microsoft/Semi-supervised-learning), the averages of a step include its own batch, classes without a
prediction are left out of a and b, and all begin at 1 / C.  Defaults are USB's for CIFAR-10 with 40 labels.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import all_reduce_sum, num_rows, sample_mean
from raysl.methods._learner import Average, undecayed
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.fixmatch import confident, consistency_loss, logits_of, weak_and_strong_views
from raysl.methods.supervised import cross_entropy
from raysl.models.encoder import Encoder

TINY = 1e-12  # added to a probability before its logarithm


class Averages(NamedTuple):
    """Moving averages over unlabelled images.

    highest: of the highest probability, a scalar.  probabilities, shares: [K], of the mean probability of each class,
    and of the share of images with it as their prediction.
    """

    highest: Tensor
    probabilities: Tensor
    shares: Tensor


@torch.no_grad()
def moved(old: Averages, weakly: Tensor, momentum: float) -> Averages:
    """Return averages after one more global batch.

    weakly: logits [B, K] of weak views, this rank's.  momentum: share that is kept.
    """
    probabilities = weakly.softmax(dim=1)
    highest, classes = probabilities.max(dim=1)
    count = num_rows(highest)
    shown = F.one_hot(classes, weakly.shape[1]).to(weakly.dtype)
    new = Averages(*(all_reduce_sum(values.sum(0)) / count for values in (highest, probabilities, shown)))
    return Averages(*(momentum * before + (1 - momentum) * now for before, now in zip(old, new, strict=True)))


def fairness_loss(strongly: Tensor, counts: Tensor, averages: Averages) -> Tensor:
    """Return sum_c a(c) log b(c), at most 0, the same on every rank; 0 if no image counts.

    strongly: logits [B, K] of strong views, this rank's.  counts: [B], 1 for an image that counts, else 0.
    """
    probabilities = strongly.softmax(dim=1)
    shown = F.one_hot(strongly.argmax(dim=1), strongly.shape[1]).to(strongly.dtype)
    # Both sums are over the images that count; their number cancels where `_scaled` divides by the sum.
    sums = all_reduce_sum((counts.unsqueeze(1) * probabilities).sum(0))
    shares = all_reduce_sum((counts.unsqueeze(1) * shown).sum(0))
    target = _scaled(averages.probabilities, averages.shares).detach()
    loss = (target * torch.log(_scaled(sums, shares) + TINY)).sum()
    return loss.where(shares.sum() > 0, torch.zeros_like(loss))


def _scaled(probabilities: Tensor, shares: Tensor) -> Tensor:
    """Return probabilities over shares, 0 where a share is 0, scaled to sum 1."""
    ratios = probabilities / shares.where(shares > 0, torch.full_like(shares, torch.inf))
    return ratios / ratios.sum().clamp(min=TINY)


class Freematch(Method):
    """FixMatch with thresholds that follow the network's own confidence, and predictions spread over the classes.

    lambda_u: weight of the loss of unlabelled images.  lambda_f: weight of the fairness term.
    threshold_momentum: share of the averages behind the thresholds that is kept at each step.
    momentum: share of the average of the weights that is kept at each step; the average is evaluated.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("lambda_u", "lambda_f", "threshold_momentum", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        lambda_u: Annotated[float, Gt(0)] = 1.0,
        lambda_f: Annotated[float, Ge(0)] = 0.001,
        threshold_momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.p_flip = p_flip
        self.lambda_u, self.lambda_f = lambda_u, lambda_f
        self.threshold_momentum, self.momentum = threshold_momentum, momentum
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.average = Average(encoder, self.classifier)
        self.register_buffer("highest", torch.tensor(1 / num_classes))
        self.register_buffer("probabilities", torch.full((num_classes,), 1 / num_classes))
        self.register_buffer("shares", torch.full((num_classes,), 1 / num_classes))

    def views(self) -> Mapping[str, ViewSpec]:
        return weak_and_strong_views(self.p_flip)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, weakly, strongly = logits_of(self.encoder, self.classifier, views)
        old = Averages(*(self.get_buffer(name) for name in Averages._fields))
        averages = moved(old, weakly, self.threshold_momentum)
        thresholds = averages.highest * averages.probabilities / averages.probabilities.max()
        classes, counts = confident(weakly, thresholds[weakly.argmax(dim=1)])
        assert views["labelled"].labels is not None
        supervised = cross_entropy(labelled, views["labelled"].labels)
        consistency = consistency_loss(strongly, classes, counts)
        fairness = fairness_loss(strongly, counts, averages)
        total = supervised + self.lambda_u * consistency + self.lambda_f * fairness
        terms = {"supervised": supervised, "consistency": consistency, "fairness": fairness}
        return Losses(total, terms, None, averages._asdict(), sample_mean(counts))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.average.update(self.encoder, self.classifier, self.momentum)
        for name, value in outputs.items():
            self.get_buffer(name).copy_(value)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return self.average.evaluation()
