"""BYOL: Grill et al. 2020, "Bootstrap your own latent: a new approach to self-supervised learning",
arXiv:2006.07733, equation 2: L = |q - z'|^2 = 2 - 2 cos(q, z') of unit vectors, where q is the online network's
prediction of one view and z' the target network's projection of the other, summed over both assignments of the views
(section 3.1). After each optimizer step the target's parameters xi follow the online network's, theta: xi <- tau xi +
(1 - tau) theta (equation 1), where tau = 1 - (1 - momentum) (cos(pi k / K) + 1) / 2 at step k of K ("Implementation
details").

As in the authors' implementation, deepmind-research/byol, buffers are not averaged: the target normalises by each
batch's own statistics, as the online network does, and has running statistics of its own. As there, the first k is 0,
so that the last tau is below 1; the last layers have no biases; the views pass each network one after the other. Unlike
there, the target starts as a copy of the online network, also if its encoder is of an earlier stage; there it is
initialised separately, without a notable difference according to its authors.

In target pre-training (Xu et al. 2022, arXiv:2205.03001, equation 3) the backbone's parameters are held near those that
the training begins with: L + 2 lambda |phi - phi_0|^2.  The equation's first term is read as the negative cosine of
both ways round, as BYOL has it (it prints one); L is twice that, up to a constant; hence the 2.

As a baseline of TriMix (Bdair et al. 2022, "TriMix: Virtual embeddings and self-consistency for self-supervised
learning"), with that paper's views, and momentum from 0.99, the authors' for 100 and for 300 epochs.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.data.augment.augmentations import Interpolation
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.barlow_twins import asymmetric_views
from raysl.methods.simsiam import distorted_views, embedding_spread, negative_cosine
from raysl.models.ema import average_of, update_average
from raysl.models.encoder import Encoder
from raysl.models.projector import build_projector

NUM_LAYERS = 2  # of the projector and of the predictor
# Rectified normal activations have a positive mean, so that their images under random weights share a direction.
RANDOM_SPREAD = math.sqrt(1 - 1 / math.pi)


def byol_loss(q1: Tensor, q2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """Return the sum of both terms of equation 2 over the global batch: 0 to 8, in fp32 at least.

    q1, q2: [B, D] of any precision, this rank's predictions from the two views.  z1, z2: [B, D], the targets of the two
    views; q1 predicts z2, and q2 predicts z1.
    """
    return 2 + 2 * negative_cosine(q1, z2) + 2 + 2 * negative_cosine(q2, z1)


def target_rate(momentum: float, progress: float) -> float:
    """Return 1 - tau, the share of the online network in the target after a step.

    progress: k / K; at 0 the share is 1 - momentum, at 1 it is 0.
    """
    return (1 - momentum) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def relative_spread(z1: Tensor, z2: Tensor) -> Tensor:
    """Return how far apart embeddings lie by `embedding_spread`, relative to those of random weights, 1 at most.

    A projector without batch normalisation at its end gives embeddings of any length, whose directions share a
    component: half of the spread that sound training keeps in other methods is no collapse here.
    z1, z2: [B, D] of any precision, this rank's projections.  Returns a scalar, the same on every rank.
    """
    rows = (F.normalize(z, dim=1) * math.sqrt(z.shape[1]) for z in (z1, z2))
    return (embedding_spread(*rows) / RANDOM_SPREAD).clamp(max=1)


def squared_distance(module: nn.Module, start: nn.Module) -> Tensor:
    """Return the sum of the squared differences of two modules' parameters, without their buffers: a scalar."""
    pairs = zip(module.parameters(), start.parameters(), strict=True)
    return torch.stack([(own - other).square().sum() for own, other in pairs]).sum()


class Byol(Method):
    """Two distorted views of an unlabelled image, each predicting the other's embedding by an average of past encoders.

    momentum: share of the target that is kept at the first step; it rises to 1 along a cosine.
    hidden: width of the hidden layer of projector and predictor.  projector: width of the embeddings.
    min_crop: least share of an image's area that a view shows.
    interpolation: filter of a view's crop, by torchvision's name.
    l2_start: lambda, the weight of the squared distance of the backbone's parameters from their start.
    asymmetric: whether the two views are distorted differently, as BYOL's authors have it: the first is always blurred,
        the second rarely, and sometimes solarised.  Otherwise neither is blurred.
    """

    streams = ("unlabelled",)
    # A slower target is another target. The hidden layer changes how well a target is predicted, not which it is.
    shapes_loss = ("momentum", "projector", "min_crop", "interpolation", "l2_start", "asymmetric")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.99,
        hidden: Annotated[int, Ge(1), Le(2**16)] = 4096,
        projector: Annotated[int, Ge(2), Le(2**16)] = 256,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
        l2_start: Annotated[float, Ge(0)] = 0.0,
        asymmetric: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.momentum, self.min_crop, self.l2_start = momentum, min_crop, l2_start
        self.interpolation: Interpolation = interpolation
        self.asymmetric = asymmetric
        self.projector = build_projector(encoder.num_features, hidden, projector, NUM_LAYERS)
        self.predictor = build_projector(projector, hidden, projector, NUM_LAYERS)
        self.target_encoder, self.target_projector = average_of(encoder), average_of(self.projector)
        self.start = average_of(encoder.backbone) if l2_start > 0 else None

    def views(self) -> Mapping[str, ViewSpec]:
        if self.asymmetric:
            return asymmetric_views(self.min_crop, self.interpolation)
        return distorted_views(self.min_crop, 0.0, self.interpolation)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        images = [views[name].images for name in ("first", "second")]
        z1, z2 = (self.projector(self.encoder(view)) for view in images)
        with torch.no_grad():
            target1, target2 = (self.target_projector(self.target_encoder(view)) for view in images)
        loss = byol_loss(self.predictor(z1), self.predictor(z2), target1, target2)
        spread = relative_spread(z1, z2)
        if self.start is None:
            return Losses(loss, {"byol": loss}, spread)
        distance = squared_distance(self.encoder.backbone, self.start)
        return Losses(loss + 2 * self.l2_start * distance, {"byol": loss, "l2_start": distance}, spread)

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        target, online = (self.target_encoder, self.target_projector), (self.encoder, self.projector)
        update_average(target, online, target_rate(self.momentum, step.progress), buffers="own")
