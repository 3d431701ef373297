"""Barlow Twins: Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy reduction",
arXiv:2103.03230, equations 1 and 2: L = sum_i (1 - C_ii)^2 + lambd * sum_i sum_{j != i} C_ij^2, where C is the
cross-correlation of two views' projections over the batch.

As l_u of equation 1 in Cavallari & Ponti 2022, with a projector of 2048 instead of 8192. What the paper leaves open is
as in its reference implementation, facebookresearch/barlowtwins: lambd 0.0051, no biases, bicubic crops, the views
passed through the encoder one after the other.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from raysl.collectives import all_reduce_sum, num_rows, standardised
from raysl.data.augment.augmentations import Interpolation
from raysl.data.augment.siamese import distorted
from raysl.methods._method import Losses, Method, Step, View, ViewSpec
from raysl.models.encoder import Encoder


def barlow_twins_loss(first: Tensor, second: Tensor, lambd: float) -> Losses:
    """Return equation 1 over the global batch; its terms are `on_diagonal` and, without lambd, `off_diagonal`.

    first, second: [B, D] of any precision, this rank's projections of the two views.
    """
    on_diagonal, off_diagonal = redundancy(cross_correlation(first, second))
    return Losses(on_diagonal + lambd * off_diagonal, {"on_diagonal": on_diagonal, "off_diagonal": off_diagonal})


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation of each column of one with each column of the other over the global batch (equation 2).

    first, second: [B, D] of any precision, this rank's rows of each.  Returns [D, D], the same on every rank, in fp32
    at least, under autocast too.
    """
    with torch.autocast(first.device.type, enabled=False):
        one, other = (standardised(rows.to(torch.promote_types(rows.dtype, torch.float32))) for rows in (first, second))
        return all_reduce_sum(one.T @ other) / num_rows(one)


def redundancy(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two sums of equation 1: (1 - C_ii)^2 over the diagonal, and C_ij^2 over all else.

    correlation: C, [D, D].
    """
    size = len(correlation)
    # Without its first element, each run of D + 1 elements ends on the diagonal.
    off_diagonal = correlation.flatten()[1:].view(size - 1, size + 1)[:, :-1]
    return (1 - correlation.diagonal()).square().sum(), off_diagonal.square().sum()


def asymmetric_views(min_crop: float, interpolation: Interpolation) -> dict[str, ViewSpec]:
    """Return the views `first`, which is always blurred, and `second`, which is rarely so and sometimes solarised.

    Grill et al. 2020 (BYOL, arXiv:2006.07733), appendix B; section 2.2 of Barlow Twins takes the same.
    """
    make = partial(distorted, min_crop=min_crop, saturation=0.2, interpolation=interpolation)
    return {
        "first": ViewSpec("unlabelled", partial(make, p_blur=1.0, p_solarise=0.0)),
        "second": ViewSpec("unlabelled", partial(make, p_blur=0.1, p_solarise=0.2)),
    }


class BarlowTwins(Method):
    """Two distorted views of an unlabelled image whose features agree, and are uncorrelated with one another.

    lambd: weight of the off-diagonal term.  projector: width of each of the projector's three layers.
    min_crop: least share of an image's area that a view shows.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    shapes_loss = ("lambd", "projector", "min_crop", "interpolation")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        lambd: Annotated[float, Gt(0)] = 0.0051,
        projector: Annotated[int, Ge(2), Le(2**16)] = 2048,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.08,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.lambd, self.min_crop = lambd, min_crop
        self.interpolation: Interpolation = interpolation
        # The cross-correlation normalises the last layer, without parameters.
        self.projector = nn.Sequential(
            nn.Linear(encoder.num_features, projector, bias=False),
            nn.BatchNorm1d(projector),
            nn.ReLU(),
            nn.Linear(projector, projector, bias=False),
            nn.BatchNorm1d(projector),
            nn.ReLU(),
            nn.Linear(projector, projector, bias=False),
        )

    def views(self) -> Mapping[str, ViewSpec]:
        return asymmetric_views(self.min_crop, self.interpolation)

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        first, second = (self.projector(self.encoder(views[name].images)) for name in ("first", "second"))
        return barlow_twins_loss(first, second, self.lambd)
