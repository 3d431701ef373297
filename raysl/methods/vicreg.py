"""VICReg: Bardes, Ponce & LeCun 2021, "VICReg: variance-invariance-covariance regularization for self-supervised
learning", arXiv:2105.04906, equation 6: l(Z, Z') = lambda s(Z, Z') + mu [v(Z) + v(Z')] + nu [c(Z) + c(Z')].

As a baseline of TriMix (Bdair et al. 2022), with that paper's projector and views. Where the equations differ from the
reference implementation, facebookresearch/vicreg, this follows the implementation: s is a mean over dimensions too,
which equation 5 sums; v is the mean over both views, which equation 6 adds; c is the sum over both views in both.

No spread: the embeddings' mean is free, so that their directions from the origin do not show a collapse. The term
`variance` shows it: it is 0.99 if all embeddings are equal.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor

from raysl.collectives import all_reduce_sum, centred, num_rows, sample_mean
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.methods.simsiam import distorted_views
from raysl.models.encoder import Encoder
from raysl.models.projector import build_projector

GAMMA = 1.0  # the standard deviation below which a dimension is pushed apart
EPS = 1e-4  # added to the variance


def vicreg_loss(first: Tensor, second: Tensor, invariance: float, variance: float, covariance: float) -> Losses:
    """Return equation 6 over the global batch, in fp32 at least; its terms are without their weights.

    first, second: [B, D] of any precision, this rank's embeddings of the two views, as the projector gives them.
    """
    with torch.autocast(first.device.type, enabled=False):
        one, other = (rows.to(torch.promote_types(rows.dtype, torch.float32)) for rows in (first, second))
        matrices = [covariance_matrix(rows) for rows in (one, other)]
        terms = {
            "invariance": sample_mean((one - other).square().mean(1)),
            "variance": torch.stack([hinge(matrix.diagonal()) for matrix in matrices]).mean(),
            "covariance": torch.stack([redundancy(matrix) for matrix in matrices]).sum(),
        }
    total = invariance * terms["invariance"] + variance * terms["variance"] + covariance * terms["covariance"]
    return Losses(total, terms)


def covariance_matrix(rows: Tensor) -> Tensor:
    """Return the unbiased covariances of the columns over the global batch, the same on every rank (equation 3).

    rows: [B, D], this rank's, of a global batch of 2 rows or more.  Returns [D, D], the variances on the diagonal.
    """
    deviations, _ = centred(rows)
    return all_reduce_sum(deviations.T @ deviations) / (num_rows(rows) - 1)


def hinge(variances: Tensor) -> Tensor:
    """Return how far the standard deviations of the dimensions fall short of GAMMA, on average (equations 1 and 2).

    variances: [D].
    """
    return F.relu(GAMMA - (variances + EPS).sqrt()).mean()


def redundancy(matrix: Tensor) -> Tensor:
    """Return the sum of the squared covariances of each dimension with the others, over the dimensions (equation 4).

    matrix: C, [D, D].
    """
    return (matrix - matrix.diagonal().diag()).square().sum() / len(matrix)


class Vicreg(Method):
    """Two distorted views of an unlabelled image whose embeddings agree, vary over images and are uncorrelated.

    invariance: weight of the term of this name, the paper's lambda.
    variance: weight of the term of this name, the paper's mu.
    covariance: weight of the term of this name, the paper's nu.
    projector: width of each of the projector's three layers.  min_crop: least share of an image's area that a view
    shows.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    shapes_loss = ("invariance", "variance", "covariance", "projector", "min_crop", "interpolation")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        invariance: Annotated[float, Ge(0)] = 25.0,
        variance: Annotated[float, Ge(0)] = 25.0,
        covariance: Annotated[float, Ge(0)] = 1.0,
        projector: Annotated[int, Ge(2), Le(2**16)] = 1024,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.min_crop, self.interpolation = min_crop, interpolation
        self.projector = build_projector(encoder.num_features, projector, projector)

    def views(self) -> Mapping[str, ViewSpec]:
        return distorted_views(self.min_crop, 0.0, self.interpolation)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        first, second = (self.projector(self.encoder(views[name].images)) for name in ("first", "second"))
        return vicreg_loss(first, second, self.invariance, self.variance, self.covariance)
