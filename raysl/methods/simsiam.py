"""SimSiam: Chen & He 2021, "Exploring simple Siamese representation learning", arXiv:2011.10566, equation 2:
L = 1/2 D(p1, stopgrad(z2)) + 1/2 D(p2, stopgrad(z1)), where D is the negative cosine similarity of equation 1, z a
view's projection and p the predictor's output for z; section 4.1 on how to recognise a collapse.

As L_si of SidAE (Baier et al. 2024, "Self-supervised Siamese autoencoders", equation 1), with that paper's views: a
blur on MNIST and Fashion-MNIST alone (`p_blur: 0.5`). What the papers leave open is as in the reference
implementation, facebookresearch/simsiam: hidden layers of the projector as wide as the features, no biases before a
batch normalisation, a last batch normalisation of the projector without parameters, the views passed through the
encoder one after the other. Not taken from there: the last batch normalisation of residual blocks that starts at zero
(backbones are initialised alike for all methods), and a predictor whose lr does not decay (the CIFAR experiments have
none).
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import centred, sample_mean
from raysl.data.augment.augmentations import Interpolation
from raysl.data.augment.siamese import distorted
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.models.encoder import Encoder

SMALLEST_NORM = 1e-3  # of an embedding, over the square root of its width


def siamese_loss(z1: Tensor, z2: Tensor, p1: Tensor, p2: Tensor) -> Tensor:
    """Return equation 2 over the global batch, in fp32 at least; the projections get no gradient from it.

    z1, z2: [B, D] of any precision, this rank's projections of the two views.  p1, p2: [B, D], their predictions.
    """
    return (negative_cosine(p1, z2.detach()) + negative_cosine(p2, z1.detach())) / 2


def negative_cosine(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the global batch of minus the rows' cosine similarity, in fp32 at least (equation 1).

    predictions, targets: [B, D] of any precision.
    """
    return sample_mean(-F.cosine_similarity(_wide(predictions), _wide(targets), dim=1))


@torch.no_grad()
def embedding_spread(z1: Tensor, z2: Tensor) -> Tensor:
    """Return how evenly the embeddings of two views are spread over all directions, the mean of both: a scalar.

    For each view, it is the standard deviation of z / ||z|| over the global batch, mean over dimensions, times sqrt(D):
    1 if all directions are equally likely, 0 if they have collapsed to one (section 4.1). It is the same on every rank,
    in fp32 at least, without gradient. Batch normalisation centres the embeddings, so that after a collapse one or two
    images lie opposite the others: the spread is then about 2 / sqrt(B), where B is the size of the global batch.
    z1, z2: [B, D] of any precision, this rank's projections.
    """
    scale = math.sqrt(z1.shape[1])
    # Batch normalisation gives norms of about `scale`; those far below it are rounding errors of any direction.
    units = (F.normalize(_wide(z), dim=1, eps=SMALLEST_NORM * scale) for z in (z1, z2))
    return torch.stack([centred(rows)[1].sqrt().mean() for rows in units]).mean() * scale


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def build_projector(features: int, width: int) -> nn.Sequential:
    """Return three layers: features [B, features] -> embeddings z [B, width]."""
    return nn.Sequential(
        nn.Linear(features, features, bias=False),
        nn.BatchNorm1d(features),
        nn.ReLU(),
        nn.Linear(features, features, bias=False),
        nn.BatchNorm1d(features),
        nn.ReLU(),
        nn.Linear(features, width, bias=False),
        nn.BatchNorm1d(width, affine=False),
    )


def build_predictor(width: int, hidden: int) -> nn.Sequential:
    """Return two layers with a bottleneck: embeddings z [B, width] -> predictions p [B, width]."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, width)
    )


def distorted_views(min_crop: float, p_blur: float, interpolation: Interpolation = "bicubic") -> dict[str, ViewSpec]:
    """Return the views `first` and `second` of an unlabelled image (Baier et al. 2024, section 3.2).

    They are cropped first, as in the reference implementation, facebookresearch/simsiam; the paper lists colours first.
    """
    make = partial(
        distorted, min_crop=min_crop, saturation=0.4, p_blur=p_blur, p_solarise=0.0, interpolation=interpolation
    )
    return {name: ViewSpec("unlabelled", make) for name in ("first", "second")}


class Simsiam(Method):
    """Two distorted views of an unlabelled image, of which each predicts the other's embedding.

    projector: width of the embeddings.  predictor: width of the predictor's bottleneck.
    min_crop: least share of an image's area that a view shows.  p_blur: share of views that are blurred.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    # Embeddings of fewer dimensions agree more easily; the predictor's width changes only how well they agree.
    shapes_loss = ("projector", "min_crop", "interpolation", "p_blur")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        projector: Annotated[int, Ge(2), Le(2**16)] = 2048,
        predictor: Annotated[int, Ge(1), Le(2**16)] = 512,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        p_blur: Annotated[float, Ge(0), Le(1)] = 0.0,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.min_crop, self.p_blur, self.interpolation = min_crop, p_blur, interpolation
        self.projector = build_projector(encoder.num_features, projector)
        self.predictor = build_predictor(projector, predictor)

    def views(self) -> Mapping[str, ViewSpec]:
        return distorted_views(self.min_crop, self.p_blur, self.interpolation)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        z1, z2 = (self.projector(self.encoder(views[name].images)) for name in ("first", "second"))
        loss = siamese_loss(z1, z2, self.predictor(z1), self.predictor(z2))
        return Losses(loss, {"siamese": loss}, embedding_spread(z1, z2))
