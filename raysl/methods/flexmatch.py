"""FlexMatch: Zhang et al. 2021, "FlexMatch: boosting semi-supervised learning with curriculum pseudo labeling",
arXiv:2110.08263: `fixmatch` with a threshold for each class, T(c) = M(beta(c)) tau, M(x) = x / (2 - x) (section 3).
beta(c) = sigma(c) / max(max_c sigma, N - sum_c sigma), where sigma(c) is the number of the N unlabelled images whose
last prediction of at least tau was class c: while most images have none, thresholds stay low.

As in the authors' code, TorchSSL, and in USB's (microsoft/Semi-supervised-learning), a step's thresholds come from the
predictions of the steps before, and an image's prediction is remembered until another one of at least tau.  The first
thresholds are 0 there and here.
"""

from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import gather, sample_mean
from raysl.methods._learner import Average, undecayed
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.fixmatch import confident, consistency_loss, logits_of, weak_and_strong_views
from raysl.methods.supervised import cross_entropy
from raysl.models.encoder import Encoder

UNSURE = -1  # the prediction of an image that never had one of at least tau


def class_thresholds(predicted: Tensor, num_classes: int, tau: float) -> Tensor:
    """Return the threshold of each class, float32 [K], from 0 to tau.

    predicted: int64 [N], the last sure prediction of each unlabelled image, or UNSURE.
    """
    # bincount waits for a GPU.  The unsure ones come first.
    counts = torch.zeros(num_classes + 1, device=predicted.device)
    counts.scatter_add_(0, predicted + 1, torch.ones_like(predicted, dtype=counts.dtype))
    learnt = counts[1:] / counts.max().clamp(min=1)
    return tau * learnt / (2 - learnt)


class Flexmatch(Method):
    """FixMatch with lower thresholds for classes of which few unlabelled images are predicted surely.

    tau: threshold of the class with most sure predictions.  lambda_u: weight of the loss of unlabelled images.
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
        self.tau, self.lambda_u, self.momentum, self.num_classes = tau, lambda_u, momentum, num_classes
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.average = Average(encoder, self.classifier)
        self.remember(0)

    def remember(self, num_unlabelled: int) -> None:
        self.register_buffer("predicted", torch.full((num_unlabelled,), UNSURE))

    def views(self) -> Mapping[str, ViewSpec]:
        return weak_and_strong_views(self.p_flip)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, weakly, strongly = logits_of(self.encoder, self.classifier, views)
        thresholds = class_thresholds(self.get_buffer("predicted"), self.num_classes, self.tau)
        classes, sure = confident(weakly, self.tau)
        _, counts = confident(weakly, thresholds.to(weakly.dtype)[classes])
        labels, rows = views["labelled"].labels, views["weak"].rows
        assert labels is not None
        assert rows is not None
        supervised = cross_entropy(labelled, labels)
        consistency = consistency_loss(strongly, classes, counts)
        terms = {"supervised": supervised, "consistency": consistency}
        outputs = {"rows": rows, "predicted": classes.where(sure.bool(), UNSURE)}
        return Losses(supervised + self.lambda_u * consistency, terms, None, outputs, sample_mean(counts))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.average.update(self.encoder, self.classifier, self.momentum)
        rows, predicted = gather(outputs["rows"]), gather(outputs["predicted"])
        memory = self.get_buffer("predicted")
        # Of an image that a batch has twice, the last sure prediction counts, in any order of the writes.
        places = torch.arange(len(rows), device=rows.device).where(predicted != UNSURE, UNSURE)
        last = torch.full_like(memory, UNSURE).scatter_reduce_(0, rows, places, "amax")
        memory.copy_(predicted[last.clamp(min=0)].where(last != UNSURE, memory))

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return self.average.evaluation()
