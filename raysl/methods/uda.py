"""UDA: Xie et al. 2020, "Unsupervised data augmentation for consistency training", arXiv:1904.12848:
L = l_s + lambda_u l_u.  l_u is the cross-entropy of the strong view of an unlabelled image against the sharpened
prediction softmax(z / T) for its weak view, which has no gradient (section 2 and appendix E).  It counts where the
unsharpened probability of a class is the threshold or more, and its mean is over all unlabelled images.

The paper's divergence differs from the cross-entropy by the targets' entropy, which has no gradient.  The labelled
loss is not annealed (TSA), as in the paper's experiments on images.  Views and strong augmentation are those of
`fixmatch`, and so is what is evaluated.
"""

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.methods._learner import Average, undecayed
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.fixmatch import confident, consistency_loss, logits_of, weak_and_strong_views
from raysl.methods.supervised import cross_entropy
from raysl.models.encoder import Encoder


class Uda(Method):
    """Cross-entropy on labelled images, and between sharpened predictions of weak and of strong views.

    temperature: of the softmax of weak views; below 1 it sharpens them.  threshold: least probability of a class for
    which an image counts.  lambda_u: weight of the loss of unlabelled images.
    momentum: share of the average of the weights that is kept at each step; the average is evaluated.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("temperature", "threshold", "lambda_u", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        temperature: Annotated[float, Gt(0)] = 0.4,
        threshold: Annotated[float, Ge(0), Le(1)] = 0.8,
        lambda_u: Annotated[float, Gt(0)] = 1.0,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.p_flip = p_flip
        self.temperature, self.threshold = temperature, threshold
        self.lambda_u, self.momentum = lambda_u, momentum
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.average = Average(encoder, self.classifier)

    def views(self) -> Mapping[str, ViewSpec]:
        return weak_and_strong_views(self.p_flip)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, weakly, strongly = logits_of(self.encoder, self.classifier, views)
        _, sure = confident(weakly, self.threshold)
        assert views["labelled"].labels is not None
        supervised = cross_entropy(labelled, views["labelled"].labels)
        consistency = consistency_loss(strongly, (weakly / self.temperature).softmax(dim=1), sure)
        terms = {"supervised": supervised, "consistency": consistency}
        return Losses(supervised + self.lambda_u * consistency, terms, confident=sample_mean(sure))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.average.update(self.encoder, self.classifier, self.momentum)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return self.average.evaluation()
