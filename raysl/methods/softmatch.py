"""SoftMatch: Chen et al. 2023, "SoftMatch: addressing the quantity-quality trade-off in semi-supervised learning",
arXiv:2301.10921: `fixmatch` that weights every unlabelled image by its confidence instead of leaving some out.  The
weight is exp(-(max p - mu_t)^2 n^2 / (2 var_t)) where the highest probability max p is below mu_t, else 1;
mu_t and var_t are moving averages of the mean and the unbiased variance of max p over unlabelled images,
which begin at 1 / C and 1.

Probabilities are uniformly aligned for the weights: p u / p_t, scaled to sum 1, where u is 1 / C and p_t a
moving average of their mean.  Labels are of the probabilities as they are.  As in USB's code
(microsoft/Semi-supervised-learning), n is 2 (the paper's Gaussian with a standard deviation halved), the averages of a
step include its own batch, and p_t begins as the first batch's mean.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import all_reduce_sum, num_rows, sample_mean
from raysl.methods._learner import Average, undecayed
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.fixmatch import consistency_loss, logits_of, weak_and_strong_views
from raysl.methods.supervised import cross_entropy
from raysl.models.encoder import Encoder

TINY = 1e-6  # added to both probabilities of an alignment


class Averages(NamedTuple):
    """Moving averages over unlabelled images.

    mean, variance: of the highest aligned probability, scalars.  probabilities: [K], of the mean probabilities before
    the alignment; all 0 before the first batch.
    """

    mean: Tensor
    variance: Tensor
    probabilities: Tensor


@torch.no_grad()
def aligned(weakly: Tensor, old: Averages, momentum: float) -> tuple[Tensor, Averages]:
    """Return the highest aligned probability [B] of each image, and the averages after this global batch.

    weakly: logits [B, K] of weak views, this rank's.  momentum: share of the averages that is kept.
    """
    probabilities = weakly.softmax(dim=1)
    count = num_rows(probabilities)
    now = all_reduce_sum(probabilities.sum(0)) / count
    kept = old.probabilities.where(old.probabilities.sum() > 0, now)
    mean_probabilities = momentum * kept + (1 - momentum) * now
    ratios = probabilities * (1 / weakly.shape[1] + TINY) / (mean_probabilities + TINY)
    highest = (ratios / ratios.sum(dim=1, keepdim=True)).amax(dim=1)
    mean = all_reduce_sum(highest.sum()) / count
    variance = all_reduce_sum((highest - mean).square().sum()) / (count - 1).clamp(min=1)
    mean = momentum * old.mean + (1 - momentum) * mean
    variance = momentum * old.variance + (1 - momentum) * variance
    return highest, Averages(mean, variance, mean_probabilities)


def confidence_weights(highest: Tensor, averages: Averages, num_sigma: float) -> Tensor:
    """Return the weight of each image, [B], from 0 to 1.

    highest: [B], highest aligned probabilities.  num_sigma: n above.
    """
    below, variance = (highest - averages.mean).clamp(max=0), averages.variance
    # Without a spread, 0 / 0 would be the weight of an image of mean confidence.
    return torch.exp(-below.square() * num_sigma**2 / (2 * variance.clamp(min=torch.finfo(variance.dtype).tiny)))


class Softmatch(Method):
    """FixMatch on all unlabelled images, each weighted by how sure the network is of its weak view.

    num_sigma: how fast weights fall below the mean confidence, in units of 1 / standard deviation.
    lambda_u: weight of the loss of unlabelled images.
    confidence_momentum: share of the averages behind the weights that is kept at each step.
    momentum: share of the average of the network's weights that is kept at each step; the average is evaluated.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("num_sigma", "lambda_u", "confidence_momentum", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        num_sigma: Annotated[float, Gt(0)] = 2.0,
        lambda_u: Annotated[float, Gt(0)] = 1.0,
        confidence_momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.p_flip = p_flip
        self.num_sigma, self.lambda_u = num_sigma, lambda_u
        self.confidence_momentum, self.momentum = confidence_momentum, momentum
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.average = Average(encoder, self.classifier)
        self.register_buffer("mean", torch.tensor(1 / num_classes))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("probabilities", torch.zeros(num_classes))

    def views(self) -> Mapping[str, ViewSpec]:
        return weak_and_strong_views(self.p_flip)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, weakly, strongly = logits_of(self.encoder, self.classifier, views)
        old = Averages(*(self.get_buffer(name) for name in Averages._fields))
        highest, averages = aligned(weakly, old, self.confidence_momentum)
        weights = confidence_weights(highest, averages, self.num_sigma)
        assert views["labelled"].labels is not None
        supervised = cross_entropy(labelled, views["labelled"].labels)
        consistency = consistency_loss(strongly, weakly.argmax(dim=1), weights)
        terms = {"supervised": supervised, "consistency": consistency}
        total = supervised + self.lambda_u * consistency
        return Losses(total, terms, None, averages._asdict(), sample_mean(weights))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.average.update(self.encoder, self.classifier, self.momentum)
        for name, value in outputs.items():
            self.get_buffer(name).copy_(value)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return self.average.evaluation()
