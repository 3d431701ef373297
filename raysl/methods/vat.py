"""VAT: Miyato et al. 2018, "Virtual adversarial training: A regularization method for supervised and semi-supervised
learning", arXiv:1704.03976: L = l_s + lambda_u LDS + lambda_entropy H.  l_s is the cross-entropy of the labelled
images.  LDS is the mean over unlabelled images of KL(p(x) || p(x + r)), where p(x) has no gradient and
r = eps g / |g| is virtually adversarial: g is the gradient of KL(p(x) || p(x + xi d)) with respect to d, a random
direction of unit length, which is one step of the power iteration for the direction in which the divergence grows
fastest (section 3.3, algorithm 1).  H is the mean entropy of p(x) (equation 18).

eps and xi are lengths in the space of normalised images.  The weights 0.3 and 0.06 and eps 6 are those of Oliver et al.
2018, "Realistic evaluation of deep semi-supervised learning algorithms", arXiv:1804.09170, on CIFAR-10; they have eps 1
on SVHN, and lambda_u rises in their first 40 % of steps as that of `mean_teacher` does.  xi is 1e-6 there and in the
authors' code, takerum/vat_tf, which fp32 does not resolve, and 1e-2 here.

Labelled and unlabelled images pass the network at once, so that batch normalisation takes its statistics from all of
them.  The labelled images pass along with the perturbed ones, too: p(x + 0) would otherwise differ from p(x), and g
would point where the statistics differ.  As in the authors' code, passes of perturbed images normalise by their batch
and leave running statistics as they are.  What is evaluated is the average of the weights, as in
`fixmatch`; the authors evaluate the weights themselves.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import sample_mean
from raysl.data.augment.consistency import weak
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw
from raysl.methods._learner import Average, together, undecayed, wide
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods.mean_teacher import ramped
from raysl.methods.supervised import cross_entropy
from raysl.models.batch_norm import kept_statistics
from raysl.models.encoder import Encoder


def weak_with_direction(images: Tensor, draw: Draw, *, p_flip: float) -> tuple[Tensor, Tensor]:
    """Return weak views of images [B, C, H, W], and a random direction of length 1 for each, of the same shape."""
    seen, _ = weak(images, draw, p_flip=p_flip)
    directions = F.normalize(draw.normals(seen.shape[1:].numel()), dim=1)
    return seen, on_device(directions.view(seen.shape), seen.device, seen.dtype)


def adversarial_direction(
    predict: Callable[[Tensor], Tensor], images: Tensor, start: Tensor, clean: Tensor, xi: float
) -> Tensor:
    """Return the unit direction for each image [B, ...] in which its prediction changes fastest, by one power step.

    Computed in fp32 at least, without autocast.  A direction is 0 if nothing changes.
    predict: images -> logits [B, K].  start: directions of length 1, like the images.
    clean: logits of the images, by the same computation: those of another precision would hide the small divergence.
    """
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        direction = wide(start).detach().requires_grad_()
        change = divergence(clean.detach(), wide(predict(wide(images) + xi * direction))).sum()
        [gradient] = torch.autograd.grad(change, direction)
    rows, tiny = gradient.flatten(1), torch.finfo(gradient.dtype).tiny
    # Where the network is very sure, the squares of a gradient's values would be 0 in fp32.
    rows = rows / rows.abs().amax(dim=1, keepdim=True).clamp(min=tiny)
    return F.normalize(rows, dim=1, eps=tiny).view(images.shape)


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    """Return KL(p || q) of each row of logits [B, K], those of p first; [B]."""
    logs = clean.log_softmax(dim=1)
    return (logs.exp() * (logs - other.log_softmax(dim=1))).sum(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each row of logits [B, K]; [B]."""
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)


class Vat(Method):
    """Cross-entropy on labelled images, and predictions for unlabelled ones that small worst changes leave alone.

    eps: length of the adversarial change of a normalised image.  xi: length of the change that finds its direction.
    lambda_u: weight of the divergence, at the end of its ramp.  ramp: share of the steps in which the weight rises.
    lambda_entropy: weight of the entropy of predictions.
    momentum: share of the average of the weights that is kept at each step; the average is evaluated.
    p_flip: probability that a view is mirrored; 0 for images that mean something else then, such as digits.
    """

    streams = ("labelled", "unlabelled")
    shapes_loss = ("eps", "xi", "lambda_u", "ramp", "lambda_entropy", "p_flip")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        eps: Annotated[float, Gt(0)] = 6.0,
        xi: Annotated[float, Gt(0)] = 0.01,
        lambda_u: Annotated[float, Gt(0)] = 0.3,
        ramp: Annotated[float, Ge(0), Le(1)] = 0.0,
        lambda_entropy: Annotated[float, Ge(0)] = 0.06,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.999,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.eps, self.xi, self.lambda_u, self.lambda_entropy = eps, xi, lambda_u, lambda_entropy
        self.ramp, self.momentum, self.p_flip = ramp, momentum, p_flip
        self.classifier = nn.Linear(encoder.num_features, num_classes)
        self.average = Average(encoder, self.classifier)

    def views(self) -> Mapping[str, ViewSpec]:
        return {
            "labelled": ViewSpec("labelled", partial(weak, p_flip=self.p_flip)),
            "first": ViewSpec("unlabelled", partial(weak_with_direction, p_flip=self.p_flip)),
        }

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        images, labels = views["labelled"].images, views["labelled"].labels
        assert labels is not None
        labelled, clean = self._logits(images, views["first"].images)
        with kept_statistics(self.encoder):
            change = self._change(views, clean.detach())
            _, perturbed = self._logits(images, views["first"].images + change)
        supervised = cross_entropy(labelled, labels)
        smoothness = sample_mean(divergence(clean.detach(), perturbed))
        uncertainty = sample_mean(entropy(clean))
        # Without a ramp the step is not read, so that it can be replayed as a graph.
        lambda_u = self.lambda_u * (ramped(step.progress, self.ramp) if self.ramp else 1.0)
        total = supervised + lambda_u * smoothness + self.lambda_entropy * uncertainty
        return Losses(total, {"supervised": supervised, "smoothness": smoothness, "entropy": uncertainty})

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.average.update(self.encoder, self.classifier, self.momentum)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return undecayed(self.encoder, self.classifier)

    def evaluation(self) -> Evaluation:
        return self.average.evaluation()

    def _logits(self, labelled: Tensor, unlabelled: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [B, K] of both, which pass the network at once, in fp32 at least."""
        first, second = (wide(self.classifier(group)) for group in together(self.encoder, labelled, unlabelled))
        return first, second

    def _change(self, views: Mapping[str, View], clean: Tensor) -> Tensor:
        """Return what is to be added to the unlabelled images; clean: their logits, without gradient."""
        labelled, unlabelled, start = views["labelled"].images, views["first"].images, views["first"].aug_params
        assert start is not None
        device = unlabelled.device.type
        if torch.is_autocast_enabled(device):
            with torch.no_grad(), torch.autocast(device, enabled=False):
                _, clean = self._logits(labelled, unlabelled)
        direction = adversarial_direction(
            lambda images: self._logits(labelled, images)[1], unlabelled, start, clean, self.xi
        )
        return self.eps * direction
