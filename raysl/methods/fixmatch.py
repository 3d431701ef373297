"""FixMatch: Sohn et al. 2020, "FixMatch: simplifying semi-supervised learning with consistency and confidence",
arXiv:2001.07685: L = l_s + lambda_u l_u.  l_s is the cross-entropy of weakly augmented labelled images (equation 3).
l_u = 1 / (mu B) sum_b 1(max q_b >= tau) H(argmax q_b, p(strong_b)) (equation 4), where q_b is the prediction for the
weak view of an unlabelled image, without gradient, and strong_b another view of it.  The sum is over the confident
images, and its divisor the number of all.

Labelled and unlabelled images pass the network at once, so that batch normalisation takes its statistics from all of
them.  Biases and normalisation parameters have no weight decay.  What is evaluated is the exponential moving average of
the weights; running statistics are copied from the network, as in the authors' code, google-research/fixmatch, where
the average is of trained variables alone.  As there, the average starts at the initial weights.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.data.augment.consistency import strong, weak
from raysl.methods._learner import Average, together, undecayed, wide
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.supervised import cross_entropy
from raysl.models.encoder import Encoder


def weak_and_strong_views(p_flip: float) -> dict[str, ViewSpec]:
    """Return weak views of labelled and unlabelled images, and strong views of the unlabelled ones.

    p_flip: probability that an image is mirrored.
    """
    weakly, strongly = partial(weak, p_flip=p_flip), partial(strong, p_flip=p_flip)
    return {
        "labelled": ViewSpec("labelled", weakly),
        "weak": ViewSpec("unlabelled", weakly),
        "strong": ViewSpec("unlabelled", strongly),
    }


def logits_of(encoder: Encoder, classifier: nn.Module, views: Mapping[str, View]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits [B, K] of the views of `weak_and_strong_views`, in fp32 at least; `weak` has no gradient."""
    features = together(encoder, *(views[name].images for name in ("labelled", "weak", "strong")))
    labelled, weakly, strongly = (wide(classifier(group)) for group in features)
    return labelled, weakly.detach(), strongly


def consistency_loss(strongly: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted cross-entropy, summed over the global batch and divided by the number of all its images.

    strongly: logits [B, K] of strong views.  targets: classes int64 [B], or probabilities [B, K].  weights: [B].
    """
    return sample_mean(weights * F.cross_entropy(strongly, targets, reduction="none"))


def confident(weakly: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return the classes int64 [B] of weak views, and 1 where their probability is the threshold or more, else 0.

    weakly: logits [B, K].  threshold: of all images, or [B].
    """
    highest, classes = weakly.softmax(dim=1).max(dim=1)
    return classes, (highest >= threshold).to(weakly.dtype)


class Fixmatch(Method):
    """Cross-entropy on labelled images, and on strong views of the unlabelled ones that weak views are sure of.

    tau: least probability of a class that is taken as a label.  lambda_u: weight of the loss of unlabelled images.
    momentum: share of the average of the weights that is kept at each step; the average is evaluated.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("tau", "lambda_u", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        tau: Annotated[float, Ge(0), Le(1)] = 0.95,
        lambda_u: Annotated[float, Gt(0)] = 1.0,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.p_flip = p_flip
        self.tau, self.lambda_u, self.momentum = tau, lambda_u, momentum
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.average = Average(encoder, self.classifier)

    def views(self) -> Mapping[str, ViewSpec]:
        return weak_and_strong_views(self.p_flip)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, weakly, strongly = logits_of(self.encoder, self.classifier, views)
        classes, sure = confident(weakly, self.tau)
        assert views["labelled"].labels is not None
        supervised = cross_entropy(labelled, views["labelled"].labels)
        consistency = consistency_loss(strongly, classes, sure)
        terms = {"supervised": supervised, "consistency": consistency}
        return Losses(supervised + self.lambda_u * consistency, terms, confident=sample_mean(sure))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.average.update(self.encoder, self.classifier, self.momentum)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return self.average.evaluation()
